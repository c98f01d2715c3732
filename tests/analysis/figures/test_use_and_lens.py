"""What the figures of interchanges and of choice accuracy along the depth show."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.drawing.description import DRAWN, PANEL, SERIES, Chart
from analysis.drawing.matplotlib_chart import draw
from analysis.figures.lens import TRAINED, lens
from analysis.figures.series import shown, spread
from analysis.figures.use import use
from study.config.names import TIERS
from tests.made_frames import STRENGTHS, add_profiles, by_depth, made_doses, made_rows, made_shares, made_study

RESULTS = made_study()
SYMBOLIC = shown(RESULTS, ("symbolic",))
DOSES = made_doses(RESULTS, ("symbolic", "semantic"))


@pytest.fixture(scope="module")
def dosed() -> Chart:
    (chart,) = use(RESULTS, DOSES, made_shares(DOSES), SYMBOLIC)
    return chart


@pytest.fixture(scope="module")
def profiled() -> Chart:
    results = made_study()
    add_profiles(results)
    (chart,) = lens(results, SYMBOLIC)
    return chart


def _axes(chart: Chart) -> list[Axes]:
    return [ax for ax in draw(chart).axes if ax.get_visible()]


def test_a_row_is_a_model_and_a_panel_a_trained_depth(dosed: Chart, profiled: Chart) -> None:
    expected = {model: ["L1 (0.50)", "L3 (1.00)"] for model in ("alpha", "beta")}
    for chart in (dosed, profiled):
        assert {heading: list(titles) for heading, titles in chart.rows.items()} == expected


def test_both_directions_are_drawn_at_every_strength(dosed: Chart) -> None:
    for direction, size in (("class direction", 6), ("random direction", 1)):
        own = dosed.data[(dosed.data[SERIES] == direction) & (dosed.data[DRAWN] == "dose")]
        own = own[(own["model"] == "alpha") & (own[PANEL] == "L1 (0.50)")]
        assert tuple(own["strength"]) == STRENGTHS
        np.testing.assert_allclose(own["p"], 0.05 * size * np.array(STRENGTHS) / 4)
    assert dosed.looks["class direction"].line == "-"
    assert dosed.looks["random direction"].line == "--"


def test_floor_and_ceiling_are_levels_through_the_panel(dosed: Chart) -> None:
    for ax in _axes(dosed):
        levels = [line.get_ydata()[0] for line in ax.get_lines() if list(line.get_xdata()) == [0, 1]]
        assert sorted(levels) == [0.01, 0.8]
        assert ax.get_xscale() == "log"


def test_subspaces_that_have_one_strength_are_points_there(dosed: Chart) -> None:
    once = dosed.data[dosed.data[DRAWN] == "once"]
    assert set(once["strength"]) == {1.0}
    assert set(once["subspace"]) == {"paired_1", "paired_4", "complement"}
    assert "random_4" not in set(dosed.data["subspace"])


def test_the_model_without_class_loss_is_grey_behind(dosed: Chart) -> None:
    grey = dosed.data[dosed.data[DRAWN] == "w = 0"]
    assert set(grey[SERIES]) == {"class direction, w = 0", "random direction, w = 0"}
    assert len({dosed.looks[name].colour for name in set(grey[SERIES])}) == 1
    order = [marks.of for marks in dosed.marks]
    assert order.index("w = 0") < order.index("dose")
    assert "trained without class loss" in dosed.caption


def test_use_is_of_the_tier_that_was_trained_first_and_says_so(dosed: Chart) -> None:
    assert set(dosed.data["tier"]) == {"symbolic"}
    for words in (
        "On symbolic prompts, 80 a point",
        "multiply/add",
        "95 % intervals over templates and seeds",
        "w = 0.5",
    ):
        assert words in dosed.caption


def test_without_a_model_without_class_loss_there_is_none_in_the_caption() -> None:
    (chart,) = use(RESULTS, DOSES[DOSES["weight"] > 0], made_shares(DOSES), SYMBOLIC)
    assert "without class loss" not in chart.caption
    assert not any("w = 0" in name for name in chart.looks)


def test_panels_whose_ceiling_is_no_higher_than_their_floor_are_counted() -> None:
    shares = made_shares(DOSES)
    shares["ceiling"] = (shares["model"] == "alpha") | (shares["layer"] == 1)
    (chart,) = use(RESULTS, DOSES, shares, SYMBOLIC)
    assert "In 1 of 4 panels the ceiling is not shown to lie above the floor" in chart.caption
    (chart,) = use(RESULTS, DOSES, made_shares(DOSES), SYMBOLIC)
    assert "not shown to lie above" not in chart.caption


def test_probabilities_that_are_all_small_have_an_axis_of_their_own() -> None:
    small = DOSES.assign(**{name: DOSES[name] / 100 for name in ("p", "p_low", "p_high")})
    (chart,) = use(RESULTS, small, made_shares(small), SYMBOLIC)
    assert chart.y.ends == pytest.approx((-0.0015, 0.0515))
    (chart,) = use(RESULTS, DOSES, made_shares(DOSES), SYMBOLIC)
    assert chart.y.ends == (-0.03, 1.03)


def test_of_many_depths_five_are_shown_spread_evenly() -> None:
    results = made_study({"alpha": 12}, layers=range(12), seeds=(0,))
    (chart,) = use(results, made_doses(results), made_shares(made_doses(results)), SYMBOLIC)
    assert [title.split()[0] for title in chart.rows["alpha"]] == ["L0", "L3", "L6", "L8", "L11"]
    assert spread([0.2, 0.4]) == [0.2, 0.4]


def test_accuracy_is_told_at_every_layer_after_stage_2_by_tier(profiled: Chart) -> None:
    after = profiled.data[profiled.data[DRAWN] == "stage 2"]
    assert list(profiled.looks) == [*TIERS, TRAINED]
    for tier in TIERS:
        own = after[(after["tier"] == tier) & (after["model"] == "beta") & (after["trained_layer"] == 3)]
        cells = [cell for cell in RESULTS.plain if cell.model == "beta" and cell.layer == 3]
        np.testing.assert_allclose(own["depth"], [0.25, 0.5, 0.75, 1.0])
        np.testing.assert_allclose(own["choice"], [0.5, 0.5, 0.5, np.mean([by_depth(cell, tier) for cell in cells])])


def test_stage_1_is_dotted_and_the_trained_layer_has_a_band(profiled: Chart) -> None:
    assert set(profiled.data.loc[profiled.data[DRAWN] == "stage 1", "choice"].round(6)) == {0.4}
    for (_, title), ax in zip(
        [("", t) for titles in profiled.rows.values() for t in titles], _axes(profiled), strict=True
    ):
        dotted = [line for line in ax.get_lines() if line.get_linestyle() == ":" and len(line.get_xdata()) == 4]
        assert len(dotted) == len(TIERS)
        (band,) = {line.get_xdata()[0] for line in ax.get_lines() if line.get_linewidth() == 5.0}
        assert f"({band:.2f})" in title
        assert 0.5 in {line.get_ydata()[0] for line in ax.get_lines() if list(line.get_xdata()) == [0, 1]}
    for words in ("3 seeds", "24 prompts a tier", "seen and unseen", "chance, 50 %"):
        assert words in profiled.caption


def test_without_rows_there_are_no_figures() -> None:
    assert use(RESULTS, DOSES[:0], made_shares(DOSES[:0]), SYMBOLIC) == []
    empty = made_study()
    empty.rows["profile"] = made_rows("profile", dict.fromkeys(empty.units, pd.DataFrame()))
    assert lens(empty, SYMBOLIC) == []
    assert lens(empty, shown(empty, ("semantic",))) == []
