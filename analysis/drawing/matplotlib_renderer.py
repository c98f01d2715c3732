"""Draws the pictures of a report with matplotlib, as SVG or, where that would be large, as PNG."""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, assert_never

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text

from analysis.data.files import write_file
from analysis.data.numbers import probability
from analysis.drawing.axes import STYLE, choice_axis, intervals, outer_labels, panels
from analysis.drawing.description import (
    Chart,
    Comparison,
    DepthCurves,
    Drawing,
    HeatMap,
    LensProfile,
    Look,
    Picture,
    Scatter,
    Series,
)
from analysis.drawing.small_svg import small
from analysis.drawing.style import HEAT, MARKS, MISSING, WHITE_TEXT_BELOW, log_odds, odds_domain

CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that names may have and XML may not."""
LARGEST_SVG = 200_000
"""Bytes of an SVG above which a picture, of some thousand marks, is a PNG."""
STATUS = {"missing": "not\nrun"}
BAND: dict[str, Any] = {"color": "#009E73", "alpha": 0.25}
"""The band at the trained layer."""


def save(picture: Picture, folder: Path) -> str:
    """Write the picture, and its data as CSV; return the name of the picture's file.

    Raises ResultsError where its name is none of a file.
    """
    with mpl.rc_context(STYLE):
        figure = picture.draw() if isinstance(picture, Drawing) else draw(picture)
        _take_literally(figure)
        drawn, suffix = io.BytesIO(), ".svg"
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})  # type: ignore[no-untyped-call]
        content = small(CONTROL.sub(b"?", drawn.getvalue()))
        if len(content) > LARGEST_SVG:
            drawn, suffix = io.BytesIO(), ".png"
            FigureCanvasAgg(figure).print_png(drawn)  # type: ignore[no-untyped-call]
            content = drawn.getvalue()
    write_file(folder, picture.name, suffix, content)
    write_file(folder, picture.name, ".csv", picture.csv)
    return picture.name + suffix


def draw(chart: Chart) -> Figure:
    """Draw every panel of a chart, and its legend."""
    rows, columns = _shape(chart)
    figure, axes = panels(rows, columns, *chart.size, x="all" if chart.panels.shared_x else "none")
    for ax in axes.flat:
        ax.set_visible(False)
    for ax, where, title in _panels(chart, axes):
        ax.set_visible(True)
        here, planned = _matching(chart.data, where), _matching(chart.planned, where)
        match chart:
            case DepthCurves():
                _depth_curves(ax, chart, here)
                _mark_unfinished(ax, planned)
            case HeatMap():
                _heat_map(ax, chart, here, planned)
            case LensProfile():
                _lens_profile(ax, chart, here, planned)
            case Comparison():
                _comparison(ax, chart, here)
            case Scatter():
                _scatter(ax, chart, here)
            case _:
                assert_never(chart)
        ax.set_title(title, **chart.panels.title_style)
    outer_labels(axes, chart.x.label, chart.y.label)
    if chart.heading:
        figure.suptitle(chart.heading, fontsize=11)
    if isinstance(chart, HeatMap):
        _head_columns(chart, axes)
        figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), ax=axes, aspect=40, label=chart.value_label)
    else:
        handles = _handles(chart)
        figure.legend(handles=handles, loc="outside lower center", ncols=5 if isinstance(chart, LensProfile) else 4)
    return figure


def _take_literally(figure: Figure) -> None:
    """Let no name with dollar signs be read as a formula, which the powers on logarithmic axes are."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) if axis.get_scale() == "log"]
    powers = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in powers:
            text.set_parse_math(False)


def _shape(chart: Chart) -> tuple[int, int]:
    """How many rows and columns of panels there are."""
    columns = len(chart.panels.columns.values)
    if chart.panels.rows:
        return len(chart.panels.rows.values), columns
    side_by_side = min(columns, chart.panels.wrap)
    return -(-columns // side_by_side), side_by_side


def _panels(chart: Chart, axes: npt.NDArray[Any]) -> Iterator[tuple[Axes, dict[str, Any], str]]:
    """Each panel's axes, the values of the columns that it shows, and its title."""
    columns, rows = chart.panels.columns, chart.panels.rows
    places = [{}] if rows is None else [{rows.column: value} for value in rows.values]
    wheres = [place | {columns.column: value} for place in places for value in columns.values]
    for ax, where in zip(axes.flat, wheres, strict=False):
        row = rows.name(where[rows.column]) if rows else ""
        yield ax, where, chart.panels.title.format(row=row, column=columns.name(where[columns.column]))


def _matching(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with these values in those of the columns that the frame has."""
    for column, value in where.items():
        if column in frame:
            frame = frame[frame[column] == value]
    return frame


def _depth_curves(ax: Axes, chart: DepthCurves, rows: pd.DataFrame) -> None:
    lines = chart.lines.looks.items() if chart.lines else [(None, Look())]
    for value, line in lines:
        own = rows[rows[chart.lines.column] == value] if chart.lines else rows
        for place, (name, look) in enumerate(chart.series.looks.items()):
            here = own[own[chart.series.column] == name].sort_values(chart.x.column)
            # Points at the same depth would hide each other.
            shift = (place - (len(chart.series.looks) - 1) / 2) * 0.009
            means = here.groupby(chart.x.column)[chart.y.column].mean()
            ax.plot(means.index + shift, 100 * means, color=look.colour, ls=line.line, lw=line.width)
            x, y = here[chart.x.column] + shift, 100 * here[chart.y.column]
            points: dict[str, Any] = {"fillstyle": line.fill, "markerfacecoloralt": "white"}
            ax.plot(x, y, color=look.colour, marker=look.marker, ls="", **points)
            low, high = (100 * here[f"{chart.y.column}_{end}"] for end in ("low", "high"))
            intervals(ax, x, low, high, look.colour)
    choice_axis(ax, chart.y.marked, chart.y.lowest(chart.data))
    ax.set_xlim(chart.x.ends)


def _mark_unfinished(ax: Axes, planned: pd.DataFrame) -> None:
    """A grey band with the status at every depth without a finished cell."""
    for depth in sorted(planned["depth"].unique()):
        cells = planned[planned["depth"] == depth]
        if not (cells["status"] == "finished").any():
            ax.axvspan(depth - 0.03, depth + 0.03, color=MISSING)
            text, place = _status(cells), ax.get_xaxis_transform()
            ax.text(depth, 0.03, text, rotation=90, ha="center", va="bottom", fontsize=7, transform=place)


def _heat_map(ax: Axes, chart: HeatMap, rows: pd.DataFrame, planned: pd.DataFrame) -> None:
    axes = [chart.x.column, chart.y.column]
    means = rows.groupby(axes)["value"].mean().to_dict()
    cells = {place: here for place, here in planned.groupby(axes)}
    for x, column in enumerate(chart.x.names):
        for y, row in enumerate(chart.y.names):
            value = means.get((column, row))
            if value is not None:
                ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=mpl.colormaps[HEAT](value), lw=0))
                colour = "white" if value < WHITE_TEXT_BELOW else "black"
                ax.text(x, y, probability(value), ha="center", va="center", color=colour)
                continue
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=MISSING, ec="white", hatch="////", lw=0))
            text = _status(cells[column, row]) if (column, row) in cells else "none"
            ax.text(x, y, text, ha="center", va="center", fontsize=7, linespacing=0.9)
    ax.set(xlim=(-0.5, len(chart.x.names) - 0.5), ylim=(-0.5, len(chart.y.names) - 0.5), facecolor=MISSING)
    ax.set_xticks(range(len(chart.x.names)), list(chart.x.names.values()))
    ax.set_yticks(range(len(chart.y.names)), list(chart.y.names.values()))
    ax.grid(False)
    ax.tick_params(length=0)


def _head_columns(chart: HeatMap, axes: npt.NDArray[Any]) -> None:
    """The names of the columns above the titles of the first row."""
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
    columns = chart.panels.columns
    for ax, value in zip(axes[0], columns.values, strict=True):
        ax.annotate(columns.name(value), (0.5, 1), (0, 20), weight="bold", **style)


def _lens_profile(ax: Axes, chart: LensProfile, rows: pd.DataFrame, planned: pd.DataFrame) -> None:
    for name, look in chart.series.looks.items():
        here = rows[rows[chart.series.column] == name]
        if not here.empty:
            means = here.groupby(chart.x.column)[chart.y.column].mean()
            ax.plot(means.index, np.exp(means), color=look.colour, ls=look.line, lw=look.width)
    if not planned.empty:
        ax.axvline(planned["depth"].iloc[0], lw=5, zorder=0, **BAND)
        if not (planned["status"] == "finished").any():
            ax.set_facecolor(MISSING)
            ax.text(0.5, 0.5, planned["status"].iloc[0], transform=ax.transAxes, ha="center")
    ax.set(yscale="log", xlim=chart.x.ends, xticks=[0, 0.5, 1])
    ax.minorticks_off()


def _comparison(ax: Axes, chart: Comparison, rows: pd.DataFrame) -> None:
    for rule in chart.rules:
        ax.axhline(rule.at, color="#000000", lw=0.8, ls=rule.line)
    pairs = list(chart.fills.looks)
    for point in rows.to_dict("records"):
        look, pair = chart.series.looks[point[chart.series.column]], point[chart.fills.column]
        # Pairs side by side: points of equal p and difference would hide each other.
        aside = 0.12 * (pairs.index(pair) - (len(pairs) - 1) / 2)
        x, x_low, x_high = (log_odds(point[f"{chart.x.column}{end}"]) + aside for end in ("", "_low", "_high"))
        y, low, high = (100 * point[f"{chart.y.column}{end}"] for end in ("", "_low", "_high"))
        ax.plot([x, x], [low, high], color=look.colour, lw=0.8, alpha=0.5)
        ax.plot([x_low, x_high], [y, y], color=look.colour, lw=0.8, alpha=0.5)
        ax.plot(x, y, color=look.colour, marker=look.marker, fillstyle=chart.fills.looks[pair].fill, ls="")
    ends = odds_domain(chart.x.lowest(chart.data))
    shown = [p for p in MARKS if log_odds(p) >= ends[0]]
    ax.set_xlim(ends)
    ax.set_xticks([log_odds(p) for p in shown], [f"{p:g}" for p in shown])


def _scatter(ax: Axes, chart: Scatter, rows: pd.DataFrame) -> None:
    for name, look in chart.series.looks.items():
        here = rows[rows[chart.series.column] == name]
        x, y = here[chart.x.column], 100 * here[chart.y.column]
        ax.plot(x, y, color=look.colour, marker=look.marker, ls="", ms=4.5, alpha=0.8)
    ax.yaxis.set_major_formatter("{x:.0f} %")


def _status(cells: pd.DataFrame) -> str:
    status = str(cells["status"].iloc[0])
    return STATUS.get(status, status)


def _handles(chart: DepthCurves | LensProfile | Comparison | Scatter) -> list[Line2D | Patch]:
    """The entries of the legend."""
    match chart:
        case DepthCurves():
            return [*_entries(chart.series), *(_entries(chart.lines) if chart.lines else [])]
        case LensProfile():
            return [*_entries(chart.series, markers=False), Patch(label=chart.mark_label, **BAND)]
        case Comparison():
            rules = [Line2D([], [], color="#000000", lw=0.8, ls=r.line, label=r.label) for r in chart.rules if r.label]
            return [*_entries(chart.series, lines=False), *_entries(chart.fills, lines=False), *rules]
        case Scatter():
            return [*_entries(chart.series, lines=False)]


def _entries(series: Series, lines: bool = True, markers: bool = True) -> list[Line2D]:
    entries = []
    for value, look in series.looks.items():
        line, marker = look.line if lines else "", look.marker if markers else ""
        style = {"color": look.colour, "marker": marker, "ls": line, "fillstyle": look.fill}
        entries.append(Line2D([], [], label=series.label(value), **style))
    return entries
