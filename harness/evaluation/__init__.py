"""Evaluate one checkpoint on one task, and grade rows from anywhere."""
