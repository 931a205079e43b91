"""Intervals, paired tests, group-sequential bounds and metrics over k replies, as pure functions of numbers."""
