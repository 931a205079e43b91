"""Grade a reply: numbers, mathematics, Python literals, programs."""
