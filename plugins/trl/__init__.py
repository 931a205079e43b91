"""Training loops on TRL. Importing them loads torch: import inside `train` only."""
