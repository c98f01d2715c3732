"""What the figures of paired differences show: contrasts in choice accuracy, and costs in answer accuracy."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.drawing.description import DRAWN, PANEL, ROW, Chart
from analysis.drawing.matplotlib_chart import draw
from analysis.figures.contrasts import contrasts
from analysis.figures.cost import cost
from analysis.figures.series import shown
from study.config.names import TIERS
from tests.made_frames import made_contrast, made_levels, made_means, made_study

RESULTS = made_study(seeds=(0, 1, 2))
MEANS = made_means(made_levels(RESULTS))
SYMBOLIC = shown(RESULTS, ("symbolic",))
Frames = tuple[pd.DataFrame, pd.DataFrame]


def _words() -> Frames:
    return made_contrast(
        RESULTS, "names against random_words", "choice", TIERS, lambda c, _: c.depth / 10 + c.seed / 50
    )


def _memory() -> Frames:
    name = "names against shuffled_labels"
    return made_contrast(RESULTS, name, "choice", TIERS[:2], lambda c, _: 0.3 + c.seed / 50, "labelled")


def _below() -> Frames:
    return made_contrast(RESULTS, "plain against lora_below", "choice", TIERS, lambda c, _: 0.1)


def _cost() -> Frames:
    tiers = TIERS[:2]
    return made_contrast(
        RESULTS, "cost against w = 0", "right", tiers, lambda c, _: -0.02 * c.layer + c.seed / 100, "all"
    )


def _contrasts(*parts: Frames, means: pd.DataFrame = MEANS) -> list[Chart]:
    singles, effects = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    return contrasts(RESULTS, effects, singles, means, SYMBOLIC)


def _panels(chart: Chart) -> dict[tuple[str, str], Axes]:
    axes = [ax for ax in draw(chart).axes if ax.get_visible()]
    places = [(heading, title) for heading, titles in chart.rows.items() for title in titles]
    return dict(zip(places, axes, strict=True))


def test_a_row_of_panels_is_a_contrast_in_their_order_and_a_panel_a_tier() -> None:
    (chart,) = _contrasts(_below(), _memory(), _words())
    assert {heading: list(titles) for heading, titles in chart.rows.items()} == {
        "Names minus random words": list(TIERS),
        "Names minus shuffled labels, where these can be remembered": list(TIERS[:2]),
        "Plain minus adapters at and below the layer only": list(TIERS),
    }


def test_contrasts_in_answers_are_not_among_those_in_choice_accuracy() -> None:
    answers = made_contrast(RESULTS, "answers of plain against lora_below", "right", TIERS, lambda c, _: 0.7, "all")
    (chart,) = _contrasts(_words(), _cost(), answers)
    assert list(chart.rows) == ["Names minus random words"]
    assert chart.data["difference"].max() < 0.5


def test_points_are_effects_at_depths_and_ticks_single_seeds() -> None:
    (chart,) = _contrasts(_words())
    effects = chart.data[chart.data[DRAWN] == "effect"]
    assert len(effects) == 2 * 2 * len(TIERS)
    np.testing.assert_allclose(effects["difference"], effects["depth"] / 10 + 0.02)
    seeds = chart.data[chart.data[DRAWN] == "seed"]
    np.testing.assert_allclose(seeds["difference"], seeds["depth"] / 10 + seeds["seed"] / 50)
    assert len(seeds) == 3 * len(effects)


def test_models_stand_side_by_side_at_the_depth_that_they_are_of() -> None:
    (chart,) = _contrasts(_words())
    means = chart.data.groupby("depth")["at"].agg(["mean", "nunique"])
    np.testing.assert_allclose(means["mean"], means.index)
    assert (means["nunique"] == 2).all()
    assert (chart.data["at"] - chart.data["depth"]).abs().max() < 0.03


def test_panels_of_one_row_share_their_axis_and_have_a_line_at_zero() -> None:
    (chart,) = _contrasts(_words(), _memory())
    panels = _panels(chart)
    for heading, titles in chart.rows.items():
        assert len({panels[heading, title].get_ylim() for title in titles}) == 1
    assert len({ax.get_ylim() for ax in panels.values()}) == 2
    for ax in panels.values():
        assert [0, 0] in [list(line.get_ydata()) for line in ax.get_lines() if list(line.get_xdata()) == [0, 1]]


def test_the_caption_counts_the_controls_that_did_not_fit() -> None:
    (chart,) = _contrasts(_words())
    assert "controls" not in chart.caption
    controls = MEANS.assign(arm="random_words")
    (chart,) = _contrasts(_words(), means=pd.concat([MEANS, controls]))
    assert "All 12 controls learned their own labels." in chart.caption
    failed = controls.assign(
        not_fitted=np.where(controls["layer"] == 3, 2, 0), seeds=np.where(controls["layer"] == 3, 1, 3)
    )
    (chart,) = _contrasts(_words(), means=pd.concat([MEANS, failed]))
    assert "4 of 12 controls did not learn their own labels, and are left out." in chart.caption


def test_a_caption_says_what_intervals_are_over() -> None:
    (chart,) = _contrasts(_words())
    assert "95 % intervals over templates and seeds; ticks are the differences of single seeds" in chart.caption
    assert "no training saw" in chart.caption
    one = made_study(seeds=(0,))
    single, effects = made_contrast(one, "plain against lora_below", "choice", TIERS, lambda c, _: 0.1)
    (chart,) = contrasts(one, effects, single, MEANS, SYMBOLIC)
    assert "95 % intervals over templates. " in chart.caption
    assert set(chart.data[DRAWN]) == {"effect"}
    (chart,) = _contrasts(_memory())
    assert "seen in training" in chart.caption


def test_a_line_of_the_forest_is_a_model_and_depth_below_that_over_all_depths() -> None:
    single, effects = _cost()
    (chart,) = cost(RESULTS, effects, single, SYMBOLIC)
    lines = ["all depths", "0.50", "1.00"]
    assert list(chart.y.names) == [f"{model}, {line}" for model in ("alpha", "beta") for line in lines]
    assert {heading: list(titles) for heading, titles in chart.rows.items()} == {"": ["symbolic", "semantic"]}
    means = chart.data[chart.data[DRAWN] != "seed"].groupby("line")["difference"].mean()
    np.testing.assert_allclose(means[["alpha, 0.50", "alpha, 1.00", "alpha, all depths"]], [-0.01, -0.05, -0.03])


def test_the_seeds_of_the_mean_over_depths_are_their_means() -> None:
    single, effects = _cost()
    (chart,) = cost(RESULTS, effects, single, SYMBOLIC)
    data = chart.data[(chart.data["line"] == "alpha, all depths") & (chart.data[PANEL] == "symbolic")]
    np.testing.assert_allclose(sorted(data.loc[data[DRAWN] == "seed", "difference"]), [-0.04, -0.03, -0.02])


def test_the_margin_is_dotted_and_what_lies_beyond_is_shaded() -> None:
    single, effects = _cost()
    (chart,) = cost(RESULTS, effects, single, SYMBOLIC)
    for ax in _panels(chart).values():
        across = {line.get_xdata()[0]: line for line in ax.get_lines() if list(line.get_ydata()) == [0, 1]}
        assert sorted(across) == [-0.03, 0]
        assert across[-0.03].get_linestyle() == ":"
        (shade,) = ax.patches
        assert shade.get_extents().transformed(ax.transData.inverted()).x1 == pytest.approx(-0.03)
        assert ax.get_xlim()[0] < chart.data["difference_low"].min()
    assert "the margin of -3 points" in chart.caption
    assert "0 preserved, 4 undecided, 0 hurt" in chart.caption


def test_a_single_depth_has_no_line_over_all_depths() -> None:
    one = made_study({"alpha": 4}, layers=(3,), seeds=(0,))
    single, effects = made_contrast(one, "cost against w = 0", "right", TIERS[:2], lambda c, _: 0.0, "all")
    (chart,) = cost(one, effects, single, SYMBOLIC)
    assert list(chart.y.names) == ["alpha, 1.00"]
    assert set(chart.data[DRAWN]) == {"at a depth"}
    assert "Verdicts: 0 preserved, 2 undecided" in chart.caption


def test_a_pair_at_one_depth_alone_stands_beside_one_at_several() -> None:
    both = made_study({"alpha": 4}, seeds=(0,), pairs=("multiply/add", "river/copper"))
    single, effects = made_contrast(both, "cost against w = 0", "right", TIERS[:2], lambda c, _: 0.0, "all")
    there = (single["pair"] == "multiply/add") | (single["depth"] == 1)
    kept = (effects["pair"] == "multiply/add") | (effects["depth"] == 1)
    (chart,) = cost(both, effects[kept], single[there], shown(both, ("symbolic",)))
    lines = [f"multiply/add, {place}" for place in ("all depths", "0.50", "1.00")]
    assert list(chart.y.names) == [f"alpha {line}" for line in (*lines, "river/copper, 1.00")]
    assert set(chart.data["series"]) == set(chart.looks) == {"alpha · multiply/add", "alpha · river/copper"}
    draw(chart)


def test_where_nothing_is_paired_there_is_no_figure() -> None:
    single, effects = _words()
    assert contrasts(RESULTS, effects[:0], single[:0], MEANS, SYMBOLIC) == []
    assert cost(RESULTS, effects, single, SYMBOLIC) == []
    other = shown(RESULTS, ("semantic",))
    assert contrasts(RESULTS, effects, single, MEANS, other) == []


def test_intervals_of_two_seeds_do_not_flatten_all_else_and_a_caption_counts_them() -> None:
    single, effects = _words()
    long = effects["depth"].eq(1.0) & effects["model"].eq("alpha")
    effects["difference_low"] = effects["difference_low"].where(~long, -1.0)
    (chart,) = _contrasts((single, effects))
    (heading,) = chart.rows
    low, high = chart.ends[heading]
    assert -0.5 < low < chart.data["difference"].min() < chart.data["difference"].max() < high
    assert {ax.get_ylim() for ax in _panels(chart).values()} == {(low, high)}
    assert f"{len(TIERS)} intervals go on beyond their panel." in chart.caption
    (chart,) = _contrasts(_words())
    assert "go on beyond" not in chart.caption
    assert chart.ends[heading][0] < chart.data["difference_low"].min()


def test_headings_are_those_of_the_rows() -> None:
    (chart,) = _contrasts(_words(), _below())
    assert set(chart.data[ROW]) == set(chart.rows)
