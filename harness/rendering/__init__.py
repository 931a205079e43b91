"""SVG plots and markdown tables, from plain values."""
