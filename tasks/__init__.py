"""The benchmarks: YAML files and their loader, suites, recipes, and two generated tasks with tiny models (`pico`)."""
