"""Pictures of the report that can be zoomed and pointed at, as Vega-Lite specifications over the pictures' own CSV."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from analysis.figures.style import (
    DEPTH_LABEL,
    HEAT,
    MARKS,
    MISSING,
    ODDS_LIMIT,
    SERIES,
    STAGE_STYLES,
    log_odds,
    odds_domain,
    tier_styles,
)

Spec = dict[str, Any]

SHAPES = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"},
    **{"v": "triangle-down", "P": "cross", "X": "triangle-left", "*": "triangle-right"},
}
DASHES = {"-": [1, 0], "--": [6, 3], "-.": [6, 3, 1, 3], ":": [1.5, 2.5]}
PLACE = ("model", "pair", "layer", "depth", "weight", "seed")
FONT = "system-ui, sans-serif"
# Without Shift the wheel scrolls the page.
ZOOM: Spec = {"name": "zoom", "bind": "scales", "select": {"type": "interval", "zoom": "wheel![event.shiftKey]"}}


def chart(picture: str, data: pd.DataFrame) -> Spec | None:
    """The specification for a picture of that name and its data, which it does not hold; None where there is none."""
    kinds: dict[str, Callable[[pd.DataFrame], Spec]] = {
        "cover": _cover,
        "transfer_by_depth": _transfer,
        "transfer_by_depth_": _transfer,
        "where_": _heat_map,
        "lens_profile_": _profile,
        "preservation": _preservation,
        "predictors": _predictors,
    }
    for name, make in kinds.items():
        if picture == name or (name.endswith("_") and picture.startswith(name)):
            numbers = {str(column): "number" for column in data.select_dtypes("number").columns}
            rows = {"data": {"format": {"type": "csv", "parse": numbers}}}
            return (
                make(data) | rows | {"config": {"font": FONT, "view": {"stroke": "#BBBBBB"}, "facet": {"spacing": 14}}}
            )
    return None


def _cover(data: pd.DataFrame) -> Spec:
    layers = _choice_by_depth(data, {"strokeDash": {"field": "pair", "type": "nominal", "title": "class tokens"}})
    return {"facet": _header("model", data), "columns": 4, "spec": {"width": 300, "height": 220, "layer": layers}}


def _transfer(data: pd.DataFrame) -> Spec:
    facets = {"row": _header("model", data), "column": _header("pair", data)}
    return {"facet": facets, "spec": {"width": 300, "height": 170, "layer": _choice_by_depth(data, {})}}


def _choice_by_depth(data: pd.DataFrame, more: Spec) -> list[Spec]:
    """One curve a tier, the mean over seeds, with every cell as a point and its interval."""
    x, y = (
        _number("depth", DEPTH_LABEL, domain=[0, 1.03]),
        _share("choice", "choice accuracy", data["choice_low"].min()),
    )
    styles = tier_styles(data["tier"].drop_duplicates())
    colour = _series("tier", {name: colour for name, (colour, _) in styles.items()})
    shape = _series("tier", {name: SHAPES[marker] for name, (_, marker) in styles.items()})
    chance = {"calculate": "1 / length(split(datum.pair, '/'))", "as": "chance"}
    picked = {"condition": {"param": "tier", "value": 1}, "value": 0.08}
    return [
        {
            "transform": [chance, {"aggregate": [], "groupby": ["chance"]}],
            "mark": {"type": "rule", "strokeDash": DASHES[":"]},
            "encoding": {"y": {**y, "field": "chance"}},
        },
        {
            "mark": {"type": "line"},
            "encoding": {"x": x, "y": {**y, "aggregate": "mean"}, "color": colour, "opacity": picked, **more},
        },
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {
                "x": x,
                "y": {**y, "field": "choice_low"},
                "y2": {"field": "choice_high"},
                "color": colour,
                "opacity": picked,
            },
        },
        {
            "params": [ZOOM, {"name": "tier", "bind": "legend", "select": {"type": "point", "fields": ["tier"]}}],
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {
                **{"x": x, "y": y, "color": colour, "shape": shape, "opacity": picked},
                "tooltip": _tooltip(*PLACE, "tier", "outcome", "choice", "choice_low", "choice_high", "p"),
            },
        },
    ]


def _heat_map(data: pd.DataFrame) -> Spec:
    x: Spec = {"field": "layer", "type": "ordinal", "title": "trained layer", "axis": {"labelAngle": 0}}
    y: Spec = {"field": "weight", "type": "ordinal", "title": "weight w", "sort": "descending"}
    scale = {"scheme": HEAT, "domain": [0, 1]}
    value: Spec = {"field": "value", "aggregate": "mean", "type": "quantitative"}
    tooltip = [
        *_tooltip("model", "pair", "tier", "layer", "depth", "weight", "shown"),
        *({**value, "field": name, "title": f"{name}, mean over seeds", "format": ".3f"} for name in ("choice", "p")),
    ]
    heat = {"mark": "rect", "encoding": {"color": {**value, "title": "p or choice accuracy", "scale": scale}}}
    text_colour = {"condition": {"test": "datum.mean_value < 0.6", "value": "white"}, "value": "black"}
    text = {"mark": "text", "encoding": {"text": {**value, "format": ".2f"}, "color": text_colour}}
    return {
        "facet": {"row": _header("tier", data), "column": _header("pair", data)},
        "spec": {
            **{"width": {"step": 62}, "height": {"step": 34}, "view": {"fill": MISSING}},
            "encoding": {"x": x, "y": y, "tooltip": tooltip},
            "layer": [heat, text],
        },
    }


def _profile(data: pd.DataFrame) -> Spec:
    stages = {name: colour for name, (colour, _) in STAGE_STYLES.items()}
    dashes = {name: DASHES[line] for name, (_, line) in STAGE_STYLES.items()}
    place = ["model", "pair", "trained_layer", "stage", "layer", "depth"]
    y: Spec = {"field": "p", "type": "quantitative", "title": "p (geometric mean)", "scale": {"type": "log"}}
    y["axis"] = {"format": ".0e", "tickCount": 5}
    shared = {
        "x": _number("depth", "relative depth of the read-out", domain=[0, 1.02]),
        "y": y,
        "color": _series("stage", stages),
    }
    return {
        "transform": [
            {"aggregate": [{"op": "mean", "field": "log_p", "as": "mean_log_p"}], "groupby": place},
            {"calculate": "exp(datum.mean_log_p)", "as": "p"},
        ],
        "facet": {"row": _header("pair", data), "column": _header("trained_layer", data)},
        "spec": {
            **{"width": 210, "height": 170},
            "layer": [
                {"mark": "line", "encoding": {**shared, "strokeDash": _series("stage", dashes)}},
                {
                    "params": [ZOOM],
                    "mark": {"type": "point", "filled": True, "size": 22},
                    "encoding": {**shared, "tooltip": _tooltip(*place, "p")},
                },
            ],
        },
    }


def _preservation(data: pd.DataFrame) -> Spec:
    names = ("difference", "difference_low", "difference_high")
    marks = [log_odds(p) for p in MARKS]
    domain = list(odds_domain(0.5 if data.empty else data["p_low"].min()))
    x = _number("odds", "mean p of the right class token (log odds)", domain)
    x["axis"] = {"values": marks, "labelExpr": "format(1 / (1 + pow(10, -datum.value)), '.3~f')"}
    y = _number("difference_points", "change of accuracy, points")
    weights = sorted(data["weight"].unique())
    colour = _series("weight", {w: colour for w, (colour, _) in zip(weights, SERIES, strict=False)})
    shape = _series("weight", {w: SHAPES[marker] for w, (_, marker) in zip(weights, SERIES, strict=False)})
    odds = f"clamp(log(max(datum.p, 1e-9) / max(1 - datum.p, 1e-9)) / LN10, -{ODDS_LIMIT}, {ODDS_LIMIT})"
    tooltip = _tooltip(*PLACE, "p", *(f"{name}_points" for name in names), "verdict")
    interval = {"y": {**y, "field": "difference_low_points"}, "y2": {"field": "difference_high_points"}}
    return {
        "transform": [
            {"calculate": odds, "as": "odds"},
            *({"calculate": f"100 * datum.{name}", "as": f"{name}_points"} for name in names),
        ],
        "facet": {"row": _header("model", data), "column": _header("tier", data)},
        "spec": {
            **{"width": 300, "height": 200},
            "layer": [
                {"mark": "rule", "encoding": {"y": {"datum": 0, "type": "quantitative"}}},
                {"mark": {"type": "rule", "opacity": 0.5}, "encoding": {"x": x, "color": colour, **interval}},
                {
                    "params": [ZOOM],
                    "mark": {"type": "point", "filled": True, "size": 60},
                    "encoding": {"x": x, "y": y, "color": colour, "shape": shape, "tooltip": tooltip},
                },
            ],
        },
    }


def _predictors(data: pd.DataFrame) -> Spec:
    models = list(data["model"].drop_duplicates())
    styles = [SERIES[index % len(SERIES)] for index in range(len(models))]
    return {
        "facet": _header("predictor", data),
        "columns": 3,
        "resolve": {"scale": {"x": "independent"}},
        "spec": {
            **{"width": 260, "height": 190, "mark": {"type": "point", "filled": True, "size": 55}},
            "encoding": {
                "x": {**_number("value", None), "scale": {"zero": False, "padding": 8}},
                "y": _share("choice", "choice accuracy", data["choice"].min()),
                "color": _series("model", {m: colour for m, (colour, _) in zip(models, styles, strict=True)}),
                "shape": _series("model", {m: SHAPES[marker] for m, (_, marker) in zip(models, styles, strict=True)}),
                "tooltip": _tooltip("predictor", "value", *PLACE, "choice"),
            },
        },
    }


def _header(field: str, data: pd.DataFrame) -> Spec:
    """A facet for each value, in the order of the data."""
    header = {"title": None, "labelFontWeight": "bold", "labelFontSize": 12}
    if field == "trained_layer":
        header["labelExpr"] = "'trained at L' + datum.value"
    return {"field": field, "type": "nominal", "header": header, "sort": data[field].drop_duplicates().to_list()}


def _number(field: str, title: str | None, domain: list[float] | None = None) -> Spec:
    scale = {"scale": {"domain": domain, "nice": False}} if domain else {}
    return {"field": field, "type": "quantitative", "title": title, "axis": {"tickCount": 6}, **scale}


def _share(field: str, title: str, lowest: float) -> Spec:
    """A share in percent, on an axis from just below the lowest to just above 100."""
    return {**_number(field, title, domain=[round(lowest - 0.04, 2), 1.04]), "axis": {"format": ".0%", "tickCount": 6}}


def _series(field: str, values: dict[Any, Any]) -> Spec:
    scale = {"domain": list(values), "range": list(values.values())}
    return {"field": field, "type": "nominal", "title": field, "scale": scale}


def _tooltip(*fields: str) -> list[Spec]:
    return [{"field": field, "title": field.replace("_", " ")} for field in fields]
