"""What the figures of predictors, recipes and changes show."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.drawing.description import DRAWN, SERIES
from analysis.drawing.style import NEUTRAL
from analysis.figures.changes import one_change
from analysis.figures.predictors import MEAN, MODEL, predictors, predictors_added
from analysis.figures.recipes import BELOW, by_choice
from analysis.outcomes.changes import COLUMNS
from study.config.predictors import PREDICTORS
from tests.made_frames import MANY, PAIR, made_associations, made_correlations, made_recipes, made_study

NAMES = ["a_lin", "probe", "kl"]
RESULTS = made_study({"alpha": 4, "beta": 4})
RECIPES = {
    "corrected": (0, 1, 2),
    "as-published": (0, 1, 2),
    "corrected with plain_sgd": (1, 2),
    "as-published without plain_sgd": (1, 2),
}


def test_a_point_is_a_model_and_the_mean_is_marked() -> None:
    models = MANY[:4]
    (chart,) = predictors(models, made_correlations(models, NAMES), "construction")
    points, means = (chart.data[chart.data[DRAWN] == drawn] for drawn in ("model", "mean"))
    assert len(points) == 4 * 3
    assert list(chart.y.names) == [PREDICTORS[name].words for name in NAMES]
    np.testing.assert_allclose(means["rho"], points.groupby("predictor", sort=False)["rho"].mean())
    assert set(chart.looks) == {*models, MEAN}
    assert "one of 4 models" in chart.caption


def test_lines_are_in_the_order_of_the_size_of_their_means() -> None:
    by_model = made_correlations(MANY[:3], NAMES).replace({"predictor": {"a_lin": "kl", "kl": "a_lin"}})
    by_model["rho"] = by_model["rho"].where(by_model["predictor"] != "a_lin", -0.95)
    (chart,) = predictors(MANY[:3], by_model, "construction")
    assert list(chart.y.names) == [PREDICTORS[name].words for name in ("a_lin", "kl", "probe")]


def test_below_three_models_with_a_correlation_there_is_no_figure() -> None:
    assert predictors(MANY[:2], made_correlations(MANY[:2], NAMES), "construction") == []
    by_model = made_correlations(MANY[:3], NAMES)
    by_model.loc[by_model["model"] == MANY[0], "rho"] = np.nan
    assert predictors(MANY[:3], by_model, "construction") == []
    assert predictors_added(made_associations(NAMES, 2)) == []
    assert predictors_added(made_associations(NAMES, 3).assign(increment=np.nan)) == []
    assert [drawing.name for drawing in predictors_added(made_associations(NAMES, 3))] == ["predictors_added"]


def test_many_models_have_one_colour() -> None:
    models = [f"model-{n}" for n in range(12)]
    (chart,) = predictors(models, made_correlations(models, NAMES), "construction")
    assert list(chart.looks) == [MODEL, MEAN]
    assert set(chart.data[SERIES]) == {MODEL, MEAN}


def test_recipes_are_shown_at_the_seeds_that_all_of_them_have() -> None:
    (drawing,) = by_choice(RESULTS, made_recipes(RECIPES))
    assert drawing.name == "recipes_alpha"
    assert set(drawing.data["seed"].dropna()) == {1, 2}
    marks = drawing.data[drawing.data["seed"].isna()]
    assert list(marks["recipe"]) == list(RECIPES)
    assert set(marks["seeds"]) == {2}
    assert "at the same seeds (1, 2)" in drawing.caption


def test_single_seeds_are_dots_below_the_mark_of_all() -> None:
    (drawing,) = by_choice(RESULTS, made_recipes(RECIPES))
    assert "Dots below a mark are single seeds." in drawing.caption
    left = drawing.draw().axes[0]
    dots = [line for line in left.get_lines() if line.get_marker() == "."]
    assert {line.get_color() for line in dots} == {NEUTRAL}
    assert sorted(list(line.get_ydata()) for line in dots) == [[y + BELOW] * 2 for y in range(4)]
    assert all(sorted(line.get_xdata()) == [0.1, 0.2] for line in dots)
    assert _legend(drawing.draw())[-1] == "single seeds"


def test_recipes_of_one_seed_each_have_no_second_mark() -> None:
    (drawing,) = by_choice(RESULTS, made_recipes({name: (0,) for name in RECIPES}))
    assert drawing.data["seed"].dropna().eq(0).all()
    assert "Dots" not in drawing.caption
    assert "mean of the seeds, and their range" not in _legend(drawing.draw())
    assert by_choice(RESULTS, made_recipes(RECIPES)[:0]) == []


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def changed() -> pd.DataFrame:
    """One change in choice accuracy: +2, +4 and +6 points in three seeds on symbolic, nothing on story."""
    about = ["untied", PAIR, 0.5, "symbolic", "choice"]
    rows = []
    for tier, size in (("symbolic", 0.02), ("story", 0.0)):
        seeds = [size * (seed + 1) for seed in range(3)]
        rows += [[*about, tier, np.nan, seed, 1, 0.5, 0.5, value, np.nan, np.nan] for seed, value in enumerate(seeds)]
        mean = 2 * size
        rows.append([*about, tier, np.nan, np.nan, 3, 0.5, 0.5, mean, mean - 0.01, mean + 0.01])
    return pd.DataFrame(rows, columns=COLUMNS)


def test_a_change_has_its_mean_interval_and_single_seeds_and_is_filled_where_zero_is_outside(
    changed: pd.DataFrame,
) -> None:
    (drawing,) = one_change(RESULTS, changed)
    assert "1 of 2 intervals exclude zero" in drawing.alt
    assert "3 seeds" in drawing.caption
    panels = {ax.get_title().strip(): ax for ax in drawing.draw().axes if ax.get_visible()}
    assert set(panels) == {"symbolic", "story"}
    marks = {
        tier: [(str(line.get_marker()), line.get_fillstyle(), float(line.get_xdata()[0])) for line in ax.get_lines()]
        for tier, ax in panels.items()
    }
    assert [round(x, 9) for marker, _, x in marks["symbolic"] if marker == "|"] == [2.0, 4.0, 6.0]
    assert [(fill, x) for marker, fill, x in marks["symbolic"] if marker == "o"] == [("full", 4.0)]
    assert [(fill, x) for marker, fill, x in marks["story"] if marker == "o"] == [("none", 0.0)]
    assert one_change(RESULTS, changed[:0]) == []
