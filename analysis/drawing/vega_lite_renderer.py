"""Turns charts into Vega-Lite specifications over their own CSV, which can be zoomed and pointed at."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from analysis.data.files import QUOTED, from_csv, quoted_columns
from analysis.drawing.description import DRAWN, PANEL, ROW, SERIES, Axis, Chart, Look, Marks, Rule
from analysis.drawing.style import NEUTRAL

Spec = dict[str, Any]

SHAPES = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"},
    **{"v": "triangle-down", "P": "cross", "X": "triangle-left", "*": "triangle-right"},
}
DASHES = {"-": [1, 0], "--": [6, 3], "-.": [6, 3, 1, 3], ":": [1.5, 2.5]}
FONT = "system-ui, sans-serif"
LABELS = {
    "share": "format(datum.value, '.0%')",
    "points": "datum.value == 0 ? '0' : format(100 * datum.value, '+.3~g')",
}
"""How values are written on an axis."""
TOLD = {"share": (100, ".1f", "%"), "points": (100, "+.1f", "points"), "number": (1, ".3~f", "")}
"""How values are told of a point: factor, format and unit."""
FORMATS = {"depth": ".2f", "followed": ".0%", "strength": ".3~g", "layer": ".0f", "seed": ".0f"}
"""Those of columns that are told beside the value."""
HEADING = 38
"""Letters of a line of a heading, which fits a narrow screen."""
WIDE, GAP, NAMES, NUMBERS = 740, 12, 190, 65
"""Pixels of a page's text, between panels, and of the axes on the left: of one with names and of one with numbers."""
ONE: Spec = {"aggregate": [{"op": "count", "as": "rows"}]}
"""Leaves one row, so that what has a place of its own is drawn once."""


def specification(chart: Chart) -> Spec:
    """Return the specification of a chart, without its rows, which are those of its CSV.

    Each row of panels is a part of `vconcat`, of whose panels so many are side by side as its `columns` says: as fit
    WIDE. `usermeta` has the pixels of the axis on the left and of each panel, so that a page can set the columns by
    its own width. Colours of axes and text are left to the configuration of the page.
    """
    # What the page reads has the digits of the CSV.
    rows = from_csv(chart.csv, chart.data)
    numbers = {str(column): "number" for column in rows.select_dtypes("number").columns}
    parts = [_row(chart, number, heading) for number, heading in enumerate(chart.rows)]
    return {
        "transform": [*_unquoted(chart), {"calculate": _told(chart.along), "as": "told"}],
        "vconcat": parts,
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
        "data": {"format": {"type": "csv", "parse": numbers}},
        "usermeta": _room(chart),
        "background": None,
        "config": {
            "font": FONT,
            "view": {"stroke": "#BBBBBB"},
            "facet": {"spacing": GAP},
            "concat": {"spacing": 18},
            "legend": {"orient": "bottom", "columns": 2, "labelLimit": 260, "symbolOpacity": 1},
            "axis": {"labelLimit": NAMES},
        },
    }


def _row(chart: Chart, number: int, heading: str) -> Spec:
    """A row of panels: its own rows, a facet a panel."""
    titles, (width, height), room = chart.rows[heading], chart.page_size, _room(chart)
    facet: Spec = {
        "field": PANEL,
        "type": "nominal",
        "title": wrap(heading, HEADING) or None,
        "sort": list(titles),
        "header": {"labelExpr": "split(datum.label, '\\n')", "labelFontWeight": "bold", "titleFontSize": 13},
    }
    return {
        "transform": [{"filter": {"field": ROW, "equal": heading}}],
        "facet": facet,
        "columns": min(len(titles), max(1, (WIDE - room["axis"]) // room["panel"])),
        "spec": {"width": width, "height": height, "layer": _layers(chart.within(heading), number)},
    }


def _room(chart: Chart) -> dict[str, int]:
    """Pixels of the axis on the left, and of a panel with the gap beside it."""
    return {"axis": NAMES if chart.y.scale == "named" else NUMBERS, "panel": chart.page_size[0] + GAP}


def _layers(chart: Chart, number: int) -> list[Spec]:
    layers = [layer for rule in chart.rules for layer in _rule(chart, rule)]
    drawn = [marks for marks in chart.marks if len(chart.of(marks))]
    layers += [_marks(chart, marks) for marks in drawn]
    continuous = [axis for axis, one in (("x", chart.x), ("y", chart.y)) if one.scale != "named"]
    # Without Shift the wheel scrolls the page.
    zoom = {"type": "interval", "zoom": "wheel![event.shiftKey]", "encodings": continuous}
    layers[-1]["params"] = [{"name": f"zoom{number}", "bind": "scales", "select": zoom}]
    if number == 0:
        picked = {"type": "point", "fields": [SERIES]}
        layers[-1]["params"].append({"name": "picked", "bind": "legend", "select": picked})
    return layers


def _rule(chart: Chart, rule: Rule) -> list[Spec]:
    other = "x2" if chart.values == "x" else "y2"
    at = {**_position(chart.along), "datum": rule.at}
    del at["field"]
    mark = {"type": "rule", "color": NEUTRAL, "opacity": 0.4 if rule.faint else 0.9, "strokeDash": DASHES[rule.line]}
    line = {"transform": [ONE], "mark": mark, "encoding": {chart.values: at}}
    if not rule.beyond or not chart.along.ends:
        return [line]
    below = {chart.values: {**at, "datum": chart.along.ends[0]}, other: {"datum": rule.at}}
    return [{"transform": [ONE], "mark": {"type": "rect", "color": "#D55E00", "opacity": 0.1}, "encoding": below}, line]


def _marks(chart: Chart, marks: Marks) -> Spec:
    along, across = _position(chart.along), _position(chart.across)
    places = {chart.values: along, "x" if chart.values == "y" else "y": across}
    picked = {"condition": {"param": "picked", "value": marks.opacity}, "value": 0.06}
    looks: Spec = {"color": _colours(chart), "opacity": picked}
    column = chart.along.column
    match marks.kind:
        case "line":
            if not marks.line:
                looks["strokeDash"] = _by_series(chart, {name: DASHES[look.line or "-"] for name, look in _all(chart)})
            order = {"order": {"field": chart.across.column, "type": "quantitative"}}
            detail = {"detail": [{"field": name, "type": "nominal"} for name in marks.by]} if marks.by else {}
            dashed = {"strokeDash": DASHES[marks.line]} if marks.line else {}
            mark = {"type": "line", "strokeWidth": marks.width, **dashed}
            encoding = {**places, **looks, **order, **detail}
        case "points":
            shapes = _by_series(chart, {name: SHAPES.get(look.marker, "stroke") for name, look in _all(chart)})
            mark = {"type": "point", "filled": True, "size": round(2.2 * marks.size**2)}
            encoding = {**places, **looks, "shape": shapes, "tooltip": _tooltip(chart)}
        case "intervals":
            mark = {"type": "rule", "strokeWidth": marks.width}
            ends = {chart.values: {**along, "field": f"{column}_low"}, f"{chart.values}2": {"field": f"{column}_high"}}
            encoding = {**places, **looks, **ends}
        case "ticks":
            turned = "vertical" if chart.values == "x" else "horizontal"
            mark = {"type": "tick", "orient": turned, "size": 1.6 * marks.size, "thickness": marks.width}
            encoding = {**places, **looks, "tooltip": _tooltip(chart)}
        case "levels":
            dashes = _by_series(chart, {name: DASHES[look.line or "-"] for name, look in _all(chart)})
            mark = {"type": "rule", "strokeWidth": marks.width}
            encoding = {chart.values: along, **looks, "strokeDash": dashes}
        case "bands":
            mark = {"type": "rule", "strokeWidth": marks.width}
            encoding = {"x" if chart.values == "y" else "y": across, **looks}
    own = [{"filter": {"field": DRAWN, "equal": marks.of}}]
    return {"transform": own, "mark": {**mark, "clip": True}, "encoding": encoding}


def _position(axis: Axis) -> Spec:
    """The encoding of a column along its axis."""
    shared: Spec = {"field": axis.column, "title": axis.short or axis.label or None}
    if axis.scale == "named":
        return {**shared, "type": "nominal", "sort": list(axis.names), "axis": {"grid": False}}
    drawn: Spec = {"values": list(axis.values)} if axis.values else {"tickCount": 5}
    if axis.scale in LABELS:
        drawn["labelExpr"] = LABELS[axis.scale]
    if axis.scale == "powers":
        drawn["format"] = "~g"
    ends: Spec = {"domain": list(axis.ends), "nice": False} if axis.ends else {}
    powers: Spec = {"type": "log", "base": 2} if axis.scale == "powers" else {}
    scale = {"scale": {**powers, **ends}} if powers or ends else {}
    return {**shared, "type": "quantitative", "axis": drawn, **scale}


def _all(chart: Chart) -> Sequence[tuple[str, Look]]:
    return list(chart.looks.items())


def _colours(chart: Chart) -> Spec:
    return _by_series(chart, {name: look.colour for name, look in _all(chart)})


def _by_series(chart: Chart, looks: dict[str, Any]) -> Spec:
    """The encoding of the series by one side of their looks; encodings of equal domain have one legend together."""
    scale = {"domain": list(looks), "range": list(looks.values())}
    return {"field": SERIES, "type": "nominal", "title": chart.legend or None, "scale": scale}


def _tooltip(chart: Chart) -> list[Spec]:
    value = {"field": "told", "title": chart.along.label}
    others = [
        {"field": name, "title": name.replace("_", " "), **({"format": FORMATS[name]} if name in FORMATS else {})}
        for name in chart.tooltip
    ]
    return [value, *others]


def _told(axis: Axis) -> str:
    """An expression of the value with its interval, where it has one."""
    factor, form, unit = TOLD.get(axis.scale, TOLD["number"])
    value, low, high = (f"datum['{axis.column}{end}']" for end in ("", "_low", "_high"))

    def written(name: str) -> str:
        return f"format({factor} * {name}, '{form}')"

    interval = f"isValid({low}) ? ' [' + {written(low)} + ', ' + {written(high)} + ']' : ''"
    return f"{written(value)} + ({interval}) + '{' ' + unit if unit else ''}'"


def _unquoted(chart: Chart) -> list[Spec]:
    """Take away the apostrophes that the CSV has and the chart's own values have not."""
    columns = [f"datum.{name}" for name in quoted_columns(chart.data)]
    return [
        {
            "calculate": f"test(/^{QUOTED.pattern}/, {name}) ? slice({name}, 1) : {name}",
            "as": name.removeprefix("datum."),
        }
        for name in columns
    ]
