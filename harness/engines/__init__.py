"""Engines turn requests into generations: vLLM, transformers, a server, or a script."""
