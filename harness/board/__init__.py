"""Boards: rows of runs, their facts, and every format they are published in."""
