"""The trainers, one file each; `trl/` holds their training loops."""
