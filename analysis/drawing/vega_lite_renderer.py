"""Turns charts into Vega-Lite specifications over their own CSV, which can be zoomed and pointed at."""

from collections.abc import Mapping
from typing import Any, assert_never

import pandas as pd

from analysis.data.files import QUOTED, from_csv, quoted_columns
from analysis.drawing.description import (
    Axis,
    Chart,
    Comparison,
    DepthCurves,
    Facet,
    HeatMap,
    LensProfile,
    Panels,
    Scatter,
    Series,
)
from analysis.drawing.style import HEAT, MARKS, MISSING, ODDS_LIMIT, WHITE_TEXT_BELOW, log_odds, odds_domain

Spec = dict[str, Any]

SHAPES = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"},
    **{"v": "triangle-down", "P": "cross", "X": "triangle-left", "*": "triangle-right"},
}
DASHES = {"-": [1, 0], "--": [6, 3], "-.": [6, 3, 1, 3], ":": [1.5, 2.5]}
FONT = "system-ui, sans-serif"
# Without Shift the wheel scrolls the page.
ZOOM: Spec = {"name": "zoom", "bind": "scales", "select": {"type": "interval", "zoom": "wheel![event.shiftKey]"}}
PROBABILITY = "format(1 / (1 + pow(10, -datum.value)), '.3~f')"
CHANCE = "1 / length(split(datum.pair, '/'))"


def specification(chart: Chart) -> Spec:
    """The specification of a chart, without its rows, which are those of its CSV."""
    # What the page reads has the digits of the CSV.
    rows = from_csv(chart.csv, chart.data)
    numbers = {str(column): "number" for column in rows.select_dtypes("number").columns}
    width, height = chart.page_size
    size: Spec = {"width": width, "height": height}
    transforms = _unquoted(chart)
    match chart:
        case DepthCurves():
            marks = _depth_curves(chart, rows)
        case HeatMap():
            size, marks = {"width": {"step": width}, "height": {"step": height}}, _heat_map(chart)
        case LensProfile():
            transforms, marks = [*transforms, *_geometric_means(chart)], _lens_profile(chart, rows)
        case Comparison():
            transforms, marks = [*transforms, *_odds_and_points(chart)], _comparison(chart, rows)
        case Scatter():
            marks = _scatter(chart, rows)
        case _:
            assert_never(chart)
    return {
        **({"transform": transforms} if transforms else {}),
        **_facets(chart.panels),
        "spec": {**size, **marks},
        "data": {"format": {"type": "csv", "parse": numbers}},
        "background": None,
        "config": {"font": FONT, "view": {"stroke": "#BBBBBB"}, "facet": {"spacing": 14}},
    }


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


def _depth_curves(chart: DepthCurves, rows: pd.DataFrame) -> Spec:
    series = chart.series.column
    x, y = _axis(chart.x, rows), _axis(chart.y, rows)
    colour, shape = _colours(chart.series), _shapes(chart.series)
    lines = {"strokeDash": _nominal(chart.lines)} if chart.lines else {}
    picked = {"condition": {"param": series, "value": 1}, "value": 0.08}
    low, high = {**y, "field": f"{chart.y.column}_low"}, {"field": f"{chart.y.column}_high"}
    layers = [
        {
            "transform": [{"calculate": CHANCE, "as": "chance"}, {"aggregate": [], "groupby": ["chance"]}],
            "mark": {"type": "rule", "strokeDash": DASHES[":"]},
            "encoding": {"y": {**y, "field": "chance"}},
        },
        {
            "mark": {"type": "line"},
            "encoding": {"x": x, "y": {**y, "aggregate": "mean"}, "color": colour, "opacity": picked, **lines},
        },
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {"x": x, "y": low, "y2": high, "color": colour, "opacity": picked},
        },
        {
            "params": [ZOOM, {"name": series, "bind": "legend", "select": {"type": "point", "fields": [series]}}],
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {
                **{"x": x, "y": y, "color": colour, "shape": shape, "opacity": picked},
                "tooltip": _tooltip(chart.tooltip),
            },
        },
    ]
    return {"layer": layers}


def _heat_map(chart: HeatMap) -> Spec:
    x: Spec = {"field": chart.x.column, "type": "ordinal", "title": _label(chart.x), "axis": {"labelAngle": 0}}
    y: Spec = {"field": chart.y.column, "type": "ordinal", "title": _label(chart.y), "sort": "descending"}
    scale = {"scheme": HEAT, "domain": [0, 1]}
    value: Spec = {"field": "value", "aggregate": "mean", "type": "quantitative"}
    means = [{**value, "field": name, "title": f"{name}, mean over seeds", "format": ".3f"} for name in chart.means]
    text_colour = {"condition": {"test": f"datum.mean_value < {WHITE_TEXT_BELOW}", "value": "white"}, "value": "black"}
    return {
        "view": {"fill": MISSING},
        "encoding": {"x": x, "y": y, "tooltip": [*_tooltip(chart.tooltip), *means]},
        "layer": [
            {"mark": "rect", "encoding": {"color": {**value, "title": chart.value_label, "scale": scale}}},
            {"mark": "text", "encoding": {"text": {**value, "format": ".2f"}, "color": text_colour}},
        ],
    }


def _geometric_means(chart: LensProfile) -> list[Spec]:
    column, place = chart.y.column, [name for name in chart.tooltip if name != "p"]
    return [
        {"aggregate": [{"op": "mean", "field": column, "as": f"mean_{column}"}], "groupby": place},
        {"calculate": f"exp(datum.mean_{column})", "as": "p"},
    ]


def _lens_profile(chart: LensProfile, rows: pd.DataFrame) -> Spec:
    y: Spec = {"field": "p", "type": "quantitative", "title": _label(chart.y), "scale": {"type": "log"}}
    y["axis"] = {"format": ".0e", "tickCount": 5}
    dashes = _nominal(chart.series, {name: DASHES[look.line] for name, look in chart.series.looks.items()})
    shared = {"x": _axis(chart.x, rows), "y": y, "color": _colours(chart.series)}
    points = {
        "params": [ZOOM],
        "mark": {"type": "point", "filled": True, "size": 22},
        "encoding": {**shared, "tooltip": _tooltip(chart.tooltip)},
    }
    return {"layer": [{"mark": "line", "encoding": {**shared, "strokeDash": dashes}}, points]}


def _odds_and_points(chart: Comparison) -> list[Spec]:
    p, ends = f"datum.{chart.x.column}", f"-{ODDS_LIMIT}, {ODDS_LIMIT}"
    odds = f"clamp(log(max({p}, 1e-9) / max(1 - {p}, 1e-9)) / LN10, {ends})"
    names = [f"{chart.y.column}{end}" for end in ("", "_low", "_high")]
    points = [{"calculate": f"100 * datum.{name}", "as": f"{name}_points"} for name in names]
    return [{"calculate": odds, "as": "odds"}, *points]


def _comparison(chart: Comparison, rows: pd.DataFrame) -> Spec:
    x, y = _axis(chart.x, rows), _axis(chart.y, rows)
    colour, shape = _colours(chart.series), _shapes(chart.series)
    low, high = (f"{chart.y.column}_{end}_points" for end in ("low", "high"))
    interval = {"x": x, "color": colour, "y": {**y, "field": low}, "y2": {"field": high}}
    rules = [
        {"mark": "rule", "encoding": {"y": {"datum": rule.at, "type": "quantitative"}}}
        for rule in chart.rules
        if rule.on_page
    ]
    told = [f"{name}_points" if name.startswith(chart.y.column) else name for name in chart.tooltip]
    points = {
        "params": [ZOOM],
        "mark": {"type": "point", "filled": True, "size": 60},
        "encoding": {"x": x, "y": y, "color": colour, "shape": shape, "tooltip": _tooltip(told)},
    }
    return {"layer": [*rules, {"mark": {"type": "rule", "opacity": 0.5}, "encoding": interval}, points]}


def _scatter(chart: Scatter, rows: pd.DataFrame) -> Spec:
    return {
        "mark": {"type": "point", "filled": True, "size": 55},
        "encoding": {
            "x": {**_axis(chart.x, rows), "scale": {"zero": False, "padding": 8}},
            "y": _axis(chart.y, rows),
            "color": _colours(chart.series),
            "shape": _shapes(chart.series),
            "tooltip": _tooltip(chart.tooltip),
        },
    }


def _facets(panels: Panels) -> Spec:
    if panels.rows:
        return {"facet": {"row": _header(panels.rows), "column": _header(panels.columns)}}
    resolve = {} if panels.shared_x else {"resolve": {"scale": {"x": "independent"}}}
    return {"facet": _header(panels.columns), "columns": panels.wrap, **resolve}


def _header(facet: Facet) -> Spec:
    """A facet for each value, in their order."""
    header = {"title": None, "labelFontWeight": "bold", "labelFontSize": 12}
    if facet.page_prefix:
        header["labelExpr"] = f"'{facet.page_prefix}' + datum.value"
    return {"field": facet.column, "type": "nominal", "header": header, "sort": list(facet.values)}


def _axis(axis: Axis, rows: pd.DataFrame) -> Spec:
    """The encoding of a number along an axis that shows `rows`."""
    match axis.scale:
        case "share":
            # From just below the lowest to just above 100.
            ends = [round(axis.lowest(rows) - 0.04, 2), 1.04]
            return {**_number(axis.column, axis, ends), "axis": {"format": ".0%", "tickCount": 6}}
        case "points":
            return _number(f"{axis.column}_points", axis)
        case "log odds":
            ticks = {
                "values": [log_odds(p) for p in MARKS],
                "labelExpr": "format(1 / (1 + pow(10, -datum.value)), '.3~f')",
            }
            return {**_number("odds", axis, list(odds_domain(axis.lowest(rows)))), "axis": ticks}
        case _:
            return _number(axis.column, axis, list(axis.ends or ()))


def _number(field: str, axis: Axis, ends: list[float] | None = None) -> Spec:
    scale = {"scale": {"domain": ends, "nice": False}} if ends else {}
    return {"field": field, "type": "quantitative", "title": _label(axis), "axis": {"tickCount": 6}, **scale}


def _label(axis: Axis) -> str | None:
    return axis.page_label or axis.label or None


def _colours(series: Series) -> Spec:
    return _nominal(series, {value: look.colour for value, look in series.looks.items()})


def _shapes(series: Series) -> Spec:
    return _nominal(series, {value: SHAPES[look.marker] for value, look in series.looks.items()})


def _nominal(series: Series, looks: Mapping[Any, Any] | None = None) -> Spec:
    """The encoding of a series, by Vega-Lite's own looks where none are given."""
    scale = {"scale": {"domain": list(looks), "range": list(looks.values())}} if looks else {}
    return {"field": series.column, "type": "nominal", "title": series.title or series.column, **scale}


def _tooltip(columns: tuple[str, ...] | list[str]) -> list[Spec]:
    return [{"field": column, "title": column.replace("_", " ")} for column in columns]
