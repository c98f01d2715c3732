"""What pictures that matplotlib draws share: one style, panels on one scale, axes, intervals and legends."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.drawing.style import Style

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
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

Sharing = Literal["all", "col", "none"]


def panels(
    rows: int, columns: int, width: float, height: float, x: Sharing = "all", y: Sharing = "all"
) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure of rows x columns axes; `width` and `height` of one in inches; `x` and `y` say which share a scale."""
    figure = Figure(figsize=(max(columns * width, 7.5), rows * height + 1.0), layout="constrained", dpi=150)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=x, sharey=y)


def outer_labels(axes: npt.NDArray[Any], x: str, y: str) -> None:
    """Axis labels on the lowest panel of every column and in the left column only."""
    for column in axes.T:
        lowest = [ax for ax in column if ax.get_visible()][-1]
        lowest.set_xlabel(x)
        lowest.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(y)


def step_aside(depths: Iterable[float], series: int) -> float:
    """How far apart the marks of `series` things at one depth stand, so that they keep clear of the next depth."""
    gaps = np.diff(sorted(set(depths)))
    return min(0.022, 0.8 * float(min(gaps, default=1.0)) / max(series, 1))


def intervals(ax: Axes, x: "pd.Series[float]", low: "pd.Series[float]", high: "pd.Series[float]", colour: str) -> None:
    """A vertical line at every x. All are one path: drawn one by one they would be most of a large figure's file."""
    ends = np.column_stack([low, high, np.full(len(x), np.nan)])
    ax.plot(np.repeat(x, 3), ends.ravel(), color=colour, lw=0.8, alpha=0.6)


def choice_axis(ax: Axes, chances: Iterable[float], lowest: float) -> None:
    """Percent from just below the lowest to 100, with a dotted line at each chance."""
    for chance in chances:
        ax.axhline(100 * chance, color="#000000", lw=0.9, ls=":")
    ax.set_ylim(max(100 * lowest - 6, -3), 104)
    ax.yaxis.set_major_formatter("{x:.0f} %")


def legend_beside(figure: Figure, styles: dict[str, Style], filled: str, hollow: str) -> None:
    """A legend of the tiers' markers, and of what is filled and what stands beside it hollow."""
    handles = [Line2D([], [], color=c, marker=m, ls="", label=tier) for tier, (c, m) in styles.items()]
    handles.append(Line2D([], [], color="#555555", marker="o", ls="", label=filled))
    handles.append(Line2D([], [], color="#555555", marker="o", ls="", fillstyle="none", label=hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
