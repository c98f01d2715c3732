"""Whether matplotlib and the page draw the same chart from one description."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from analysis.data.files import from_csv
from analysis.drawing.description import DRAWN, PANEL, ROW, SERIES, Chart
from analysis.drawing.matplotlib_chart import draw
from analysis.drawing.vega_lite_renderer import DASHES, SHAPES, Spec, specification
from analysis.figures.contrasts import contrasts
from analysis.figures.cost import cost
from analysis.figures.depth import depth
from analysis.figures.lens import lens
from analysis.figures.predictors import predictors
from analysis.figures.series import shown
from analysis.figures.use import use
from study.config.names import TIERS
from tests.made_frames import (
    PAIR,
    add_profiles,
    made_contrast,
    made_correlations,
    made_doses,
    made_levels,
    made_means,
    made_shares,
    made_study,
)

NAMES = ("depth", "contrasts", "cost", "use", "lens", "predictors")
NARROW = 390
"""Pixels of a telephone's screen."""


def _charts() -> dict[str, Chart]:
    results = made_study({"alpha": 4, "beta": 6}, pairs=(PAIR, "river/copper"))
    add_profiles(results)
    levels, place = made_levels(results), shown(results, ("symbolic",))
    means = made_means(levels)
    words = made_contrast(results, "names against random_words", "choice", TIERS, lambda c, _: c.depth / 10)
    below = made_contrast(results, "plain against lora_below", "choice", TIERS, lambda c, _: c.seed / 10 - 0.1)
    costs = made_contrast(results, "cost against w = 0", "right", TIERS[:2], lambda c, _: -c.depth / 20, "all")
    singles, effects = (pd.concat(frames, ignore_index=True) for frames in zip(words, below, strict=True))
    correlations = made_correlations(["alpha", "beta", "gamma"], ["a_lin", "probe"])
    return {
        chart.name: chart
        for chart in (
            *depth(results, levels, means, place, "depth"),
            *contrasts(results, effects, singles, means, place),
            *cost(results, costs[1], costs[0], place),
            *use(results, made_doses(results), made_shares(made_doses(results)), place),
            *lens(results, place),
            *predictors(["alpha", "beta", "gamma"], correlations, "construction"),
        )
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[Chart, dict[tuple[str, str], Axes], Spec]]:
    charts = _charts()
    return {name: (chart, dict(_panels(chart)), specification(chart)) for name, chart in charts.items()}


def _panels(chart: Chart) -> Iterator[tuple[tuple[str, str], Axes]]:
    """The axes of each panel, by heading and title."""
    figure = draw(chart)
    axes = [ax for ax in figure.axes if ax.get_visible()]
    places = [(heading, title) for heading, titles in chart.rows.items() for title in titles]
    for ax, place in zip(axes, places, strict=True):
        assert ax.get_title().removeprefix("\n") == place[1]
        yield place, ax


def _layers(spec: Spec, heading: str) -> list[Spec]:
    """The layers of a row of panels that draw rows of the data."""
    (row,) = [part for part in spec["vconcat"] if part["transform"][0]["filter"]["equal"] == heading]
    return [layer for layer in row["spec"]["layer"] if "filter" in layer["transform"][0]]


def test_every_chart_is_looked_at(drawn: dict[str, Any]) -> None:
    assert tuple(drawn) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_same_panels_in_one_order(drawn: dict[str, Any], name: str) -> None:
    chart, _, spec = drawn[name]
    rows = {part["transform"][0]["filter"]["equal"]: part["facet"]["sort"] for part in spec["vconcat"]}
    assert rows == {heading: list(titles) for heading, titles in chart.rows.items()}
    assert all(part["facet"]["field"] == PANEL for part in spec["vconcat"])
    assert all(part["transform"][0]["filter"]["field"] == ROW for part in spec["vconcat"])


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_data_lies_outside_all_panels(drawn: dict[str, Any], name: str) -> None:
    chart, _, _ = drawn[name]
    places = {(heading, title) for heading, titles in chart.rows.items() for title in titles}
    assert set(zip(chart.data[ROW], chart.data[PANEL], strict=True)) == places
    assert set(chart.data[SERIES]) == set(chart.looks)
    assert set(chart.data[DRAWN]) == {marks.of for marks in chart.marks}


@pytest.mark.parametrize("name", NAMES)
def test_both_put_points_and_ticks_at_the_same_values(drawn: dict[str, Any], name: str) -> None:
    chart, axes, spec = drawn[name]
    rows = from_csv(chart.csv, chart.data)
    for place, ax in axes.items():
        here = rows[(rows[ROW] == place[0]) & (rows[PANEL] == place[1])]
        told: set[tuple[str, float, float]] = set()
        for layer in _layers(spec, place[0]):
            if layer["mark"]["type"] in ("point", "tick"):
                own = here[here[DRAWN] == layer["transform"][0]["filter"]["equal"]]
                fields = {axis: layer["encoding"][axis] for axis in ("x", "y")}
                assert (fields["x"]["field"], fields["y"]["field"]) == (chart.x.column, chart.y.column)
                told |= {
                    (chart.looks[row[SERIES]].colour, *(_place(fields[axis], row) for axis in ("x", "y")))
                    for row in own.to_dict("records")
                    if row[chart.along.column] == row[chart.along.column]
                }
        assert told
        assert _rounded(told) == _rounded(_marked(ax))


def _place(field: dict[str, Any], row: dict[Any, Any]) -> float:
    value = row[field["field"]]
    return float(field["sort"].index(value)) if field["type"] == "nominal" else float(value)


def _marked(ax: Axes) -> set[tuple[str, float, float]]:
    """What has a marker in a panel."""
    lines = [line for line in ax.get_lines() if str(line.get_marker()) not in ("None", "")]
    return {
        (to_hex(line.get_color()).upper(), float(x), float(y))
        for line in lines
        for x, y in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)
    }


def _rounded(points: set[tuple[str, float, float]]) -> set[tuple[str, float, float]]:
    return {(colour, round(x, 4), round(y, 4)) for colour, x, y in points}


@pytest.mark.parametrize("name", NAMES)
def test_both_draw_intervals_between_the_same_ends(drawn: dict[str, Any], name: str) -> None:
    chart, _, spec = drawn[name]
    intervals = [marks.of for marks in chart.marks if marks.kind == "intervals"]
    for heading in chart.rows:
        for layer in _layers(spec, heading):
            encoding, own = layer["encoding"], layer["transform"][0]["filter"]["equal"]
            if f"{chart.values}2" in encoding:
                assert own in intervals
                ends = [encoding[f"{chart.values}{number}"]["field"] for number in ("", "2")]
                assert ends == [f"{chart.along.column}_low", f"{chart.along.column}_high"]


@pytest.mark.parametrize("name", NAMES)
def test_both_tell_series_apart_by_the_same_looks(drawn: dict[str, Any], name: str) -> None:
    chart, axes, spec = drawn[name]
    figure = next(iter(axes.values())).get_figure()
    (legend,) = figure.legends
    entries = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    for layer in _layers(spec, next(iter(chart.rows))):
        encoding = layer["encoding"]
        domain = encoding["color"]["scale"]["domain"]
        assert domain == list(chart.looks)
        assert encoding["color"]["scale"]["range"] == [to_hex(entries[n].get_color()).upper() for n in domain]
        if "shape" in encoding:
            shapes = [SHAPES.get(str(entries[n].get_marker()), "stroke") for n in domain]
            assert encoding["shape"]["scale"]["range"] == shapes
        if "strokeDash" in encoding:
            dashes = [DASHES[chart.looks[n].line or "-"] for n in domain]
            assert encoding["strokeDash"]["scale"]["range"] == dashes


@pytest.mark.parametrize("name", NAMES)
def test_both_draw_the_same_rules(drawn: dict[str, Any], name: str) -> None:
    chart, axes, spec = drawn[name]
    for part in spec["vconcat"]:
        told = [layer for layer in part["spec"]["layer"] if layer["mark"]["type"] == "rule"]
        told = [layer["encoding"][chart.values]["datum"] for layer in told if "aggregate" in layer["transform"][0]]
        assert told == [rule.at for rule in chart.rules]
    for ax in axes.values():
        lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 2]
        along = [(line.get_ydata() if chart.values == "y" else line.get_xdata()) for line in lines]
        assert {rule.at for rule in chart.rules} <= {values[0] for values in along if values[0] == values[1]}


@pytest.mark.parametrize("name", NAMES)
def test_both_end_the_axes_at_the_same_values(drawn: dict[str, Any], name: str) -> None:
    chart, axes, spec = drawn[name]
    layer = next(one for one in _layers(spec, next(iter(chart.rows))) if one["mark"]["type"] == "point")
    for axis, limits in (("x", "get_xlim"), ("y", "get_ylim")):
        ends = layer["encoding"][axis].get("scale", {}).get("domain")
        own = [ax for (heading, _), ax in axes.items() if heading == next(iter(chart.rows))]
        assert ends is None or {getattr(ax, limits)() for ax in own} == {tuple(ends)}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_tells_of_a_point_its_model_its_value_and_its_interval(drawn: dict[str, Any], name: str) -> None:
    chart, _, spec = drawn[name]
    assert set(chart.tooltip) <= set(chart.data)
    pointed = [
        one["encoding"]["tooltip"] for one in _layers(spec, next(iter(chart.rows))) if "tooltip" in one["encoding"]
    ]
    assert pointed
    for tooltip in pointed:
        assert [field["field"] for field in tooltip] == ["told", *chart.tooltip]
        assert "model" in chart.tooltip
    (told,) = [one["calculate"] for one in spec["transform"] if one["as"] == "told"]
    assert f"{chart.along.column}_low" in told


@pytest.mark.parametrize("name", NAMES)
def test_a_page_leaves_colours_of_text_and_axes_to_its_own_scheme(drawn: dict[str, Any], name: str) -> None:
    spec = json.dumps(drawn[name][2])
    assert not re.search("#000|black|white|labelColor|titleColor", spec)


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_side_by_side_as_far_as_there_is_room_on_a_page(drawn: dict[str, Any], name: str) -> None:
    _, _, spec = drawn[name]
    room = spec["usermeta"]
    for part in spec["vconcat"]:
        panels, columns = len(part["facet"]["sort"]), part["columns"]
        assert room["axis"] + columns * room["panel"] <= 740
        assert columns == panels or room["axis"] + (columns + 1) * room["panel"] > 740


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_panels_below_one_another_fit_a_narrow_screen(drawn: dict[str, Any], name: str) -> None:
    chart, _, spec = drawn[name]
    spec = json.loads(json.dumps(spec, allow_nan=False))
    spec["data"]["values"] = chart.csv.decode()
    for part in spec["vconcat"]:
        part["columns"] = 1
    svg = vl_convert.vegalite_to_svg(spec, vl_version="6.4")
    width = re.search(r'width="([\d.]+)"', svg)
    assert width
    assert 150 < float(width[1]) <= NARROW
    points = svg.count('aria-roledescription="point"')
    needed = [chart.of(marks) for marks in chart.marks if marks.kind == "points"]
    assert points == sum(map(len, needed))
