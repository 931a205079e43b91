"""A row of a board where others look for it: on the Hugging Face hub, or as files to hand on. See README.md here."""
