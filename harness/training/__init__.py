"""One training stage in a process of its own, and the decontamination of its data."""
