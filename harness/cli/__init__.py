"""The `harness` command: click only; imports of heavy modules stay inside the commands."""
