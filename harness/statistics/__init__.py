"""Intervals, paired tests, group-sequential bounds, metrics over k replies: numbers in, numbers out."""
