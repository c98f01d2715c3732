"""What all pictures share: one style, panels on one scale, the axes of choice accuracy, and how they are saved."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.results import Results
from study.results.store import write_bytes

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
    "svg.hashsalt": "classifier-emergence-study",
}
Style = tuple[str, str]
"""Colour and marker."""
TIER_STYLES: list[Style] = [
    *(("#000000", "o"), ("#0072B2", "s"), ("#D55E00", "^"), ("#E69F00", "D")),
    *(("#009E73", "v"), ("#CC79A7", "P"), ("#56B4E9", "X"), ("#7F7F7F", "*")),
]
STAGE_STYLES = {
    "baseline": ("#999999", ":"),
    "stage 1": ("#000000", "--"),
    "w = 0": ("#56B4E9", "-."),
    "stage 2": ("#D55E00", "-"),
}
SERIES = [
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#E69F00", "D")),
    *(("#CC79A7", "v"), ("#000000", "P"), ("#56B4E9", "X"), ("#7F7F7F", "*")),
]
LINES = ["-", "--", ":", "-."]
FILLS: list[Any] = ["full", "none", "left", "top"]
MISSING = "#D9D9D9"
HEAT = "viridis"
STATUS = {"missing": "not\nrun"}
ODDS_LIMIT = 4.0
MARKS = (0.001, 0.1, 0.5, 0.9, 0.99, 0.999)
"""Probabilities that are named on an axis in log odds."""
DEPTH_LABEL = "relative depth of the trained layer"


@dataclass(frozen=True)
class Picture:
    """A saved figure: files `name`.png, .svg and .csv."""

    name: str
    alt: str
    caption: str


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


def fill(index: int) -> Any:
    """How the markers of the index-th token pair are filled."""
    return FILLS[index % len(FILLS)]


def log_odds(p: float) -> float:
    """Decimal log odds, held within `odds_axis`: where p is near 1 everywhere, p itself shows nothing."""
    return float(np.clip(np.log10(max(p, 1e-9)) - np.log10(max(1 - p, 1e-9)), -ODDS_LIMIT, ODDS_LIMIT))


def odds_domain(lowest: float) -> tuple[float, float]:
    """Ends of an axis in log odds for p from `lowest` on."""
    return log_odds(lowest) - 0.3, ODDS_LIMIT + 0.2


def odds_axis(ax: Axes, lowest: float) -> None:
    """An x axis in log odds that is labelled in p, for p from `lowest` on."""
    ax.set_xlim(odds_domain(lowest))
    shown = [p for p in MARKS if log_odds(p) >= odds_domain(lowest)[0]]
    ax.set_xticks([log_odds(p) for p in shown], [f"{p:g}" for p in shown])


def tier_styles(tiers: Iterable[str]) -> dict[str, Style]:
    """Of each tier, by its place among all of them."""
    return dict(zip(tiers, cycle(TIER_STYLES), strict=False))


def tier_curves(ax: Axes, tiers: Sequence[str], data: pd.DataFrame, index: int) -> None:
    """One curve a tier: the mean over seeds as a line, every cell as a point."""
    for place, (tier, (colour, marker)) in enumerate(tier_styles(tiers).items()):
        rows = data[data["tier"] == tier].sort_values("depth")
        # Points at the same depth would hide each other.
        shift = (place - (len(tiers) - 1) / 2) * 0.009
        means = rows.groupby("depth")["choice"].mean()
        line = LINES[index % len(LINES)]
        ax.plot(means.index + shift, 100 * means, color=colour, ls=line, lw=1.6 if index == 0 else 1.0)
        x, y = rows["depth"] + shift, 100 * rows["choice"]
        ax.plot(x, y, color=colour, marker=marker, ls="", fillstyle=fill(index), markerfacecoloralt="white")
        intervals(ax, x, 100 * rows["choice_low"], 100 * rows["choice_high"], colour)


def choice_axis(ax: Axes, results: Results, data: pd.DataFrame) -> None:
    """Percent from just below chance, or below the lowest point of `data` where that is lower, to 100."""
    chances = sorted({cell.chance for cell in results.plain})
    for chance in chances:
        ax.axhline(100 * chance, color="#000000", lw=0.9, ls=":")
    lowest = min([*chances, *data["choice_low"]])
    ax.set(xlim=(0, 1.03), ylim=(max(100 * lowest - 6, -3), 104))
    ax.yaxis.set_major_formatter("{x:.0f} %")


def mark_unfinished(ax: Axes, results: Results, model: str, pair: str, weight: float) -> None:
    """A grey band with the status at every depth without a finished cell."""
    cells = [c for c in results.plain if (c.model, c.pair, c.weight) == (model, pair, weight)]
    for depth in sorted({cell.depth for cell in cells}):
        here = [cell for cell in cells if cell.depth == depth]
        if not any(cell.finished for cell in here):
            ax.axvspan(depth - 0.03, depth + 0.03, color=MISSING)
            status, place = STATUS.get(here[0].status, here[0].status), ax.get_xaxis_transform()
            ax.text(depth, 0.03, status, rotation=90, ha="center", va="bottom", fontsize=7, transform=place)


def tier_handles(results: Results) -> list[Line2D]:
    """Legend entries of the tiers."""
    return [
        Line2D([], [], color=c, marker=m, label=f"{tier} (trained)" if tier in results.plain[0].wordings else tier)
        for tier, (c, m) in tier_styles(results.tiers).items()
    ]


def legend_beside(figure: Figure, styles: dict[str, Style], filled: str, hollow: str) -> None:
    """A legend of the tiers' markers, and of what is filled and what stands beside it hollow."""
    handles = [Line2D([], [], color=c, marker=m, ls="", label=tier) for tier, (c, m) in styles.items()]
    handles.append(Line2D([], [], color="#555555", marker="o", ls="", label=filled))
    handles.append(Line2D([], [], color="#555555", marker="o", ls="", fillstyle="none", label=hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=6)


def save(figure: Figure, folder: Path, name: str, data: pd.DataFrame, alt: str, caption: str) -> Picture:
    """Write the figure as PNG and SVG and its `data` as CSV."""
    # The layout is solved once and each format drawn once; `savefig` would do both several times.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)  # type: ignore[no-untyped-call]
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    write_bytes(folder / f"{name}.png", png.getvalue())
    write_bytes(folder / f"{name}.svg", svg.getvalue())
    write_bytes(folder / f"{name}.csv", data.to_csv(index=False, float_format="%.6g").encode())
    return Picture(name, alt, caption)
