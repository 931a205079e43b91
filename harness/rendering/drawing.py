"""Shared by all plots: colours, markers, number formats, and a figure as SVG text.

Pure functions: the same input gives the same bytes, and matplotlib's global settings are neither read nor changed.
The text starts at `<svg`, so it can be a file or part of a page; words stay text, and the plot has its own background.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours (jfly.uni-koeln.de/color) without yellow, which is hard to see on white. With 13 markers they
# make 91 combinations, with 4 kinds of dashes 28.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
TEXT, FAINT, GRID, PAPER = "#222222", "#595959", "#e4e4e4", "#ffffff"
TICK_STEPS = (1, 2, 2.5, 5, 10)

SETTINGS: Mapping[Any, Any] = {  # of matplotlib, over its own defaults
    "svg.fonttype": "none",
    "svg.hashsalt": "harness.rendering.curves",
    "text.parse_math": False,  # a name with "$" or "_" is not read as maths
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
}


def svg(draw: Callable[[], Figure], title: str, settings: Mapping[Any, Any] | None = None) -> str:
    """SVG of the figure that `draw` makes, with our settings and `settings`. Measure text only inside `draw`."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # the reader's fonts draw the words, so a glyph that ours lacks does not matter
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**SETTINGS, **(settings or {})})
        text = io.StringIO()
        silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        draw().savefig(text, format="svg", metadata={**silent, "Title": title})
    return text.getvalue()[text.getvalue().index("<svg") :]


def look(style: int) -> dict[str, Any]:
    """Colour and dashes of the line with this index among the names, in the plot and in the legend."""
    return {
        "color": COLOURS[style % len(COLOURS)],
        "marker": MARKERS[style % len(MARKERS)],
        "linestyle": DASHES[style % len(DASHES)],
        "linewidth": 1.5,
        "markersize": 6.5 if MARKERS[style % len(MARKERS)] in "*PX" else 5,
        "markeredgewidth": 0.5,
        "markeredgecolor": COLOURS[style % len(COLOURS)],
    }


def number_text(value: float) -> str:
    """A tick label: 0.05, 250, 2e-5, 1.5e16."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value + 0.0:.6g}"  # no "-0"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def count_text(value: float) -> str:
    """A count or seconds, abbreviated: 500, 1.5k, 20M, 3B."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.6g}{suffix}"
    return f"{value:.6g}"


def percent_text(value: float) -> str:
    """The tick label of a share; empty below 0 and above 100."""
    return number_text(value) if 0 <= round(value, 6) <= 100 else ""


def text_width(text: str, size: float = 9, weight: str = "normal") -> float:
    """Width of a line of text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=size, weight=weight)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])
