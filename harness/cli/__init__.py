"""The `harness` command. Only click is imported at the top; heavy modules are imported inside the commands."""
