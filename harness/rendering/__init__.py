"""SVG pictures and markdown tables, from plain values."""
