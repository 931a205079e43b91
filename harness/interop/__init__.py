"""Formats of other tools: lm-eval tasks and result files, Inspect logs, recorded generations."""
