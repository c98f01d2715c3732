"""Draws charts with matplotlib: every panel with its marks, axes and title, and a legend."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Drawn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from analysis.drawing.axes import head, legend_above, panels
from analysis.drawing.description import PANEL, ROW, SERIES, Axis, Chart, Look, Marks, Rule
from analysis.drawing.style import NEUTRAL

SHADE: dict[str, Any] = {"color": "#D55E00", "alpha": 0.09, "lw": 0}


def draw(chart: Chart) -> Figure:
    """Draw every panel of a chart, and its legend."""
    grid = list(_grid(chart))
    columns = max(len(titles) for _, titles, _ in grid)
    figure, axes = panels(len(grid), columns, _height(chart, grid), y="row" if chart.ends else "all")
    for drawn, (heading, titles, first) in zip(axes, grid, strict=True):
        for ax in drawn[len(titles) :]:
            ax.set_visible(False)
        for ax, title in zip(drawn, titles, strict=False):
            _panel(ax, chart, chart.data[(chart.data[ROW] == heading) & (chart.data[PANEL] == title)])
            ax.set_title(title)
        if first and heading:
            head(drawn[0], heading)
    _scales(axes, chart, [heading for heading, *_ in grid])
    figure.supxlabel(chart.x.label, fontsize=8.5)
    figure.supylabel(chart.y.label, fontsize=8.5)
    legend_above(figure, [*_entries(chart), *_named(chart.marks), *_named(chart.rules)])
    return figure


def _height(chart: Chart, grid: Sequence[tuple[str, Sequence[str], bool]]) -> float:
    """The height of a row of panels, with its heading."""
    return chart.height + (0.25 if any(heading for heading, *_ in grid) else 0.0)


def _grid(chart: Chart) -> Iterator[tuple[str, Sequence[str], bool]]:
    """Yield each row of the drawing: its heading, the titles of its panels, and whether it is the heading's first."""
    for heading, titles in chart.rows.items():
        for start in range(0, len(titles), chart.wrap):
            yield heading, titles[start : start + chart.wrap], start == 0


def _panel(ax: Axes, chart: Chart, rows: pd.DataFrame) -> None:
    for rule in chart.rules:
        _rule(ax, chart, rule)
    for marks in chart.marks:
        here = chart.of(marks)
        here = here[here.index.isin(rows.index)]
        for name, own in here.groupby(SERIES, sort=False):
            _draw_marks(ax, chart, marks, own, chart.looks[str(name)])


def _rule(ax: Axes, chart: Chart, rule: Rule) -> None:
    through, shade = (ax.axhline, ax.axhspan) if chart.values == "y" else (ax.axvline, ax.axvspan)
    through(rule.at, **_rule_style(rule))
    if rule.beyond and chart.along.ends:
        shade(chart.along.ends[0], rule.at, **SHADE)


def _rule_style(rule: Rule) -> dict[str, Any]:
    return {"color": "#BBBBBB" if rule.faint else "#000000", "lw": 0.8, "ls": rule.line, "zorder": 1}


def _draw_marks(ax: Axes, chart: Chart, marks: Marks, rows: pd.DataFrame, look: Look) -> None:
    """Draw the marks of one series in a panel. All are one path where they can be: drawn one by one they would be most
    of a large figure's file."""
    style: dict[str, Any] = {"color": look.colour, "alpha": marks.opacity}
    line = marks.line or look.line or "-"
    along, across = rows[chart.along.column], _places(rows, chart.across)
    match marks.kind:
        case "line":
            for _, own in rows.groupby([SERIES, *marks.by], sort=False, dropna=False):
                own = own.sort_values(chart.across.column)
                _plot(ax, chart, own[chart.across.column], own[chart.along.column], ls=line, lw=marks.width, **style)
        case "points":
            _plot(ax, chart, across, along, marker=look.marker, ls="", ms=marks.size, mew=0.6, **style)
        case "intervals":
            ends = np.column_stack([rows[f"{chart.along.column}_{end}"] for end in ("low", "high")])
            path = np.column_stack([ends, np.full(len(rows), np.nan)]).ravel()
            _plot(ax, chart, pd.Series(np.repeat(across, 3)), pd.Series(path), lw=marks.width, **style)
        case "ticks":
            tick = "_" if chart.values == "y" else "|"
            _plot(ax, chart, across, along, marker=tick, ls="", ms=marks.size, mew=marks.width, **style)
        case "levels":
            for value in along:
                (ax.axhline if chart.values == "y" else ax.axvline)(value, ls=line, lw=marks.width, **style)
        case "bands":
            for place in across:
                (ax.axvline if chart.values == "y" else ax.axhline)(place, lw=marks.width, zorder=0, **style)


def _plot(ax: Axes, chart: Chart, across: Any, along: Any, **style: Any) -> None:
    x, y = (across, along) if chart.values == "y" else (along, across)
    ax.plot(x, y, **style)


def _places(rows: pd.DataFrame, axis: Axis) -> Any:
    """Where rows stand on the axis that is not of values."""
    if axis.scale != "named":
        return rows[axis.column]
    return rows[axis.column].map({name: place for place, name in enumerate(axis.names)})


def _scales(axes: Any, chart: Chart, headings: Sequence[str]) -> None:
    for drawn, heading in zip(axes, headings, strict=True):
        for ax in filter(Axes.get_visible, drawn):
            _scale(chart.x, ax.xaxis, ax.set_xscale, ax.set_xlim)
            _scale(chart.y, ax.yaxis, ax.set_yscale, ax.set_ylim)
            if heading in chart.ends:
                (ax.set_ylim if chart.values == "y" else ax.set_xlim)(*chart.ends[heading])
    for column in axes.T:
        lowest = [ax for ax in column if ax.get_visible()][-1]
        lowest.tick_params(labelbottom=True)


def _scale(axis: Axis, drawn: Drawn, scale: Callable[..., Any], limits: Callable[..., Any]) -> None:
    if axis.scale == "named":
        drawn.set_ticks(range(len(axis.names)), list(axis.names))
        limits(len(axis.names) - 0.4, -0.6)
        return
    if axis.scale == "powers":
        scale("log", base=2)
        drawn.set_minor_locator(NullLocator())
    if axis.values:
        drawn.set_ticks(list(axis.values))
    elif axis.scale != "powers":
        drawn.set_major_locator(MaxNLocator(4))
    if axis.ends:
        limits(*axis.ends)
    drawn.set_major_formatter(lambda value, _: written(axis, value))


def written(axis: Axis, value: float) -> str:
    """Return how a value is written on its axis."""
    match axis.scale:
        case "share":
            return f"{100 * value:.0f} %"
        case "points":
            return f"{100 * value:+.3g}" if abs(value) > 1e-9 else "0"
        case _:
            return f"{value:.3g}"


def _entries(chart: Chart) -> list[Artist]:
    """A legend's entries of the series."""
    return [
        Line2D([], [], color=look.colour, marker=look.marker, ls=look.line, label=name)
        for name, look in chart.looks.items()
    ]


def _named(things: "Sequence[Marks] | Sequence[Rule]") -> list[Artist]:
    """A legend's entries of marks or rules that it names."""
    entries: list[Artist] = []
    for thing in things:
        if not thing.label:
            continue
        if isinstance(thing, Rule):
            entries.append(Line2D([], [], label=thing.label, **_rule_style(thing)))
        else:
            line = "" if thing.sample else thing.line or "-"
            style: dict[str, Any] = {
                "marker": thing.sample,
                "ls": line,
                "lw": thing.width,
                "ms": thing.size,
                "alpha": thing.opacity,
            }
            entries.append(Line2D([], [], color=NEUTRAL, label=thing.label, **style))
    return entries
