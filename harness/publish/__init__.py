"""Rows of a board published on the Hugging Face hub, or as files to hand on. See README.md here."""
