"""Strategies × seeds: recipes, the comparison, tuning, dry runs."""
