"""What pictures that matplotlib draws share: one style, panels within the width of a page, and legends above them."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "classifier-emergence-study",
}

PAGE = 7.4
"""Inches of a page's text. A wider drawing would be shown smaller there, and its letters with it."""
WIDEST = 3.4
"""Inches of a panel that has the page for itself."""
DPI = 150
LETTERS = 105
"""That stand side by side in a legend."""

Sharing = Literal["all", "row", "col", "none"]


def panels(
    rows: int, columns: int, height: float, x: Sharing = "all", y: Sharing = "all", extra: float = 0.9
) -> tuple[Figure, npt.NDArray[Any]]:
    """Return a figure of rows x columns axes; `height` of one, and what stands around them, in inches; `x` and `y` say
    which share a scale."""
    size = (min(PAGE, max(columns * WIDEST, 5.6)), max(rows * height + extra, 2.8))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.06), dpi=DPI)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=x, sharey=y)


def head(ax: Axes, heading: str) -> None:
    """Write the heading of a row of panels above the title of its first, which is given a line more for it: layouts
    leave room for the height of titles, but the first panel would get the width of anything else."""
    title = ax.get_title()
    ax.set_title(f"\n{title}")
    above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "weight": "bold"}
    ax.annotate(heading, (0, 1), (0, 7.5 + 10 * (1 + title.count("\n"))), **above).set_in_layout(False)


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put a legend above all panels, where no label of an axis is, in as many columns as there is room for."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    columns = max(1, min(len(handles), LETTERS // (longest + 7)))
    if handles:
        figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, columnspacing=1.4)


def step_aside(depths: Iterable[float], series: int) -> float:
    """Return how far apart the marks of `series` things at one depth stand, so that they keep clear of the next
    depth."""
    gaps = np.diff(sorted(set(depths)))
    return min(0.022, 0.7 * float(min(gaps, default=1.0)) / max(series, 1))
