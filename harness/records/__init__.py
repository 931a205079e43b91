"""What is on disk: the run store, records as JSON lines and as columns, the run folder, the test-set log."""
