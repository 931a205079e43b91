"""The benchmarks: YAML files, their loader, suites, recipes and the embedded world."""
