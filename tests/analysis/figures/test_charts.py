"""Whether matplotlib and the page draw the same chart from one description."""

from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.data.results import Results, read_results
from analysis.drawing.description import Chart, Comparison, DepthCurves, Drawing, HeatMap, LensProfile, Scatter
from analysis.drawing.matplotlib_renderer import draw
from analysis.drawing.vega_lite_renderer import DASHES, SHAPES, Spec, specification
from analysis.figures import describe_pictures
from analysis.outcomes import decide_study
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow

NAMES = (
    *("cover", "transfer_by_depth", "transfer_by_depth_symbolic_semantic", "where_alpha", "where_beta"),
    *("lens_profile_alpha", "lens_profile_beta", "preservation", "predictors"),
)
CURVES = ("cover", "transfer_by_depth", "transfer_by_depth_symbolic_semantic")
WITH_SERIES = (*CURVES, "lens_profile_alpha", "preservation", "predictors")


def _truth(point: Point) -> Truth:
    return Truth() if point.tier == "symbolic" or point.depth > 0.9 else Truth(choice=0.5)


PLAN = Plan(
    models={"alpha": 4, "beta": 6},
    depths=(0.5, 1.0),
    weights=(0.0, 0.2, 0.5),
    arms=("plain", "random_words"),
    wordings=(("symbolic",), ("symbolic", "semantic")),
    truth=_truth,
    per_class=16,
    predictors=lambda point: {},
    watched=True,
    swapped=True,
    unfinished={"beta|L2|river-copper|w=0.5|s0": ("failed", "killed")},
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "charts", PLAN))


@pytest.fixture(scope="module")
def charts(results: Results) -> dict[str, Chart]:
    pictures, _ = describe_pictures(results, decide_study(results))
    return {picture.name: picture for picture in pictures if not isinstance(picture, Drawing)}


@pytest.fixture(scope="module")
def drawn(charts: dict[str, Chart]) -> dict[str, tuple[Chart, Figure, Spec]]:
    return {name: (chart, draw(chart), specification(chart)) for name, chart in charts.items()}


def _panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible() and ax.get_title()]


def _encodings(spec: Any) -> list[dict[str, Any]]:
    """Every encoding in a specification, at whatever depth."""
    if isinstance(spec, list):
        return [found for part in spec for found in _encodings(part)]
    if not isinstance(spec, dict):
        return []
    own = [spec["encoding"]] if "encoding" in spec else []
    return own + [found for part in spec.values() for found in _encodings(part)]


def _channel(spec: Spec, name: str) -> dict[str, Any]:
    """What every mark with that channel says of it, which is the same for all but the column."""
    found = [{**one[name], "field": ""} for one in _encodings(spec) if name in one and "title" in one[name]]
    return {key: value for one in found for key, value in one.items()}


def test_every_kind_of_chart_is_looked_at(charts: dict[str, Chart]) -> None:
    assert sorted(charts) == sorted(NAMES)
    assert {type(chart) for chart in charts.values()} == {DepthCurves, HeatMap, LensProfile, Comparison, Scatter}


@pytest.mark.parametrize("name", NAMES)
def test_both_have_the_same_panels_in_one_order(drawn: dict[str, Any], name: str) -> None:
    chart, figure, spec = drawn[name]
    facet = spec["facet"]
    rows, columns = facet.get("row"), facet.get("column", facet)
    titles = [
        chart.panels.title.format(
            row=chart.panels.rows.name(row) if rows else "", column=chart.panels.columns.name(column)
        )
        for row in (rows["sort"] if rows else [""])
        for column in columns["sort"]
    ]
    assert len(titles) > 1
    assert [ax.get_title() for ax in _panels(figure)] == titles
    assert {one["field"] for one in (rows, columns) if one} <= set(chart.data)


@pytest.mark.parametrize("name", NAMES)
def test_both_show_rows_in_every_panel_that_has_some(drawn: dict[str, Any], name: str) -> None:
    chart, _, spec = drawn[name]
    facet = spec["facet"]
    for one in (facet.get("row"), facet.get("column", facet)):
        assert one is None or set(chart.data[one["field"]]) <= set(one["sort"])


@pytest.mark.parametrize("name", WITH_SERIES)
def test_both_tell_series_apart_by_the_same_looks_in_one_order(drawn: dict[str, Any], name: str) -> None:
    chart, figure, spec = drawn[name]
    (legend,) = figure.legends
    colours = _channel(spec, "color")["scale"]
    entries = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    own = list(entries)[: len(colours["domain"])]
    assert own == [chart.series.label(value) for value in colours["domain"]]
    assert [to_hex(entries[label].get_color()).upper() for label in own] == colours["range"]
    lines = [line for ax in _panels(figure) for line in ax.get_lines()]
    assert set(colours["range"]) <= {to_hex(line.get_color()).upper() for line in lines}
    if shapes := _channel(spec, "shape").get("scale"):
        assert shapes["domain"] == colours["domain"]
        assert [SHAPES[str(entries[label].get_marker())] for label in own] == shapes["range"]
    if isinstance(chart, LensProfile):
        assert [DASHES[entries[label].get_linestyle()] for label in own] == _channel(spec, "strokeDash")["scale"][
            "range"
        ]


@pytest.mark.parametrize("name", NAMES)
def test_both_call_the_axes_by_the_labels_of_the_description(drawn: dict[str, Any], name: str) -> None:
    chart, figure, spec = drawn[name]
    lowest, left = _panels(figure)[-1], _panels(figure)[0]
    assert (lowest.get_xlabel(), left.get_ylabel()) == (chart.x.label, chart.y.label)
    for channel, axis in (("x", chart.x), ("y", chart.y)):
        assert _channel(spec, channel)["title"] == (axis.page_label or axis.label or None)


@pytest.mark.parametrize("name", [*CURVES, "lens_profile_alpha", "lens_profile_beta"])
def test_both_show_the_same_depths(drawn: dict[str, Any], name: str) -> None:
    chart, figure, spec = drawn[name]
    assert tuple(_channel(spec, "x")["scale"]["domain"]) == chart.x.ends
    assert {ax.get_xlim() for ax in _panels(figure)} == {chart.x.ends}


@pytest.mark.parametrize("name", CURVES)
def test_both_show_choice_accuracy_from_just_below_the_lowest_to_above_100(drawn: dict[str, Any], name: str) -> None:
    chart, figure, spec = drawn[name]
    lowest = min(0.5, chart.data["choice_low"].min())
    bottom, top = _channel(spec, "y")["scale"]["domain"]
    assert bottom == pytest.approx(lowest - 0.04, abs=0.006)
    assert {ax.get_ylim() for ax in _panels(figure)} == {(max(100 * lowest - 6, -3), 100 * top)}


def test_both_show_the_same_log_odds(drawn: dict[str, Any]) -> None:
    _, figure, spec = drawn["preservation"]
    ends = _channel(spec, "x")["scale"]["domain"]
    for ax in _panels(figure):
        assert ax.get_xlim() == pytest.approx(ends, abs=1e-4)
        assert set(ax.get_xticks()) <= set(_channel(spec, "x")["axis"]["values"])


@pytest.mark.parametrize("name", ["where_alpha", "where_beta"])
def test_both_colour_the_same_tiles_by_one_scale(drawn: dict[str, Any], name: str) -> None:
    chart, figure, spec = drawn[name]
    scale = _channel(spec, "color")["scale"]
    bar = figure.axes[-1]
    assert list(bar.get_ylim()) == scale["domain"]
    assert bar.get_ylabel() == _channel(spec, "color")["title"]
    for column, axis in ((chart.data["layer"], chart.x), (chart.data["weight"], chart.y)):
        assert set(column) <= set(axis.names)
    corner = _panels(figure)[-len(chart.panels.columns.values)]
    assert [tick.get_text() for tick in corner.get_xticklabels()] == list(chart.x.names.values())
    assert [tick.get_text() for tick in corner.get_yticklabels()] == list(chart.y.names.values())
    for ax in _panels(figure):
        assert len(ax.patches) == len(chart.x.names) * len(chart.y.names)


def test_both_draw_the_same_rules_but_for_those_that_only_a_legend_can_name(drawn: dict[str, Any]) -> None:
    chart, figure, spec = drawn["preservation"]
    on_page = [one["y"]["datum"] for one in _encodings(spec) if "datum" in one.get("y", {})]
    assert on_page == [rule.at for rule in chart.rules if not rule.label] == [0]
    for ax in _panels(figure):
        across = [line.get_ydata()[0] for line in ax.get_lines() if list(line.get_xdata()) == [0, 1]]
        assert across == [rule.at for rule in chart.rules]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_tells_of_a_point_is_what_the_description_names(drawn: dict[str, Any], name: str) -> None:
    chart, _, spec = drawn[name]
    (told,) = (one["tooltip"] for one in _encodings(spec) if "tooltip" in one)
    own = [field["field"].removesuffix("_points") for field in told]
    assert own == [*chart.tooltip, *(chart.means if isinstance(chart, HeatMap) else ())]
    assert set(own) - set(chart.data) <= ({"p"} if isinstance(chart, LensProfile) else set())
