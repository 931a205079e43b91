"""Experiments over strategies and seeds: recipes, the comparison, tuning, dry runs."""
