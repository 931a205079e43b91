"""Whether a checkpoint may replace another: PASS, BLOCK or INCONCLUSIVE, from records alone. See README.md here."""
