"""Engines that turn requests into generations: vLLM, transformers, a server, or scripted replies."""
