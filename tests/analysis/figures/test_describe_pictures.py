"""Which pictures a report has."""

from dataclasses import fields, replace

import pandas as pd
import pytest

from analysis.data.results import Results
from analysis.figures import describe_pictures
from analysis.outcomes import Decided
from study.config.names import TIERS
from tests.made_frames import (
    add_profiles,
    made_associations,
    made_contrast,
    made_correlations,
    made_doses,
    made_evaluations,
    made_levels,
    made_means,
    made_recipes,
    made_rows,
    made_shares,
    made_study,
)

BOTH = (("symbolic",), ("symbolic", "semantic"))


def _study(models: dict[str, int]) -> tuple[Results, Decided]:
    """A study with rows for every picture but that of changes."""
    results = made_study(models, wordings=BOTH)
    add_profiles(results)
    watched = made_evaluations(results)
    of_cells = {cell.id: watched[watched["model"] == cell.model] for cell in results.plain}
    results.rows["onset"] = made_rows("onset", of_cells)
    levels = made_levels(results)
    words = made_contrast(results, "names against random_words", "choice", TIERS, lambda c, _: c.depth / 4)
    costs = made_contrast(results, "cost against w = 0", "right", TIERS[:2], lambda c, _: 0.0, "all")
    singles, effects = (pd.concat(frames) for frames in zip(words, costs, strict=True))
    names = list(models)
    frames = {
        "outcomes": levels,
        "levels": levels,
        "means": made_means(levels),
        "differences": singles,
        "effects": effects,
        "doses": made_doses(results),
        "shares": made_shares(made_doses(results)),
        "associations": made_associations(["a_lin"], len(names)),
        "associations_by_model": made_correlations(names, ["a_lin"]),
        "recipes_measured": made_recipes({"corrected": (0, 1), "as-published": (0,)}, names[0]),
    }
    empty = {field.name: pd.DataFrame() for field in fields(Decided)}
    return results, Decided(**(empty | frames))


@pytest.mark.parametrize("models", [{"alpha": 4}, {"alpha": 4, "beta": 6, "gamma": 8}])
def test_a_report_has_a_picture_of_all_that_there_are_rows_for(models: dict[str, int]) -> None:
    pictures, left_out = describe_pictures(*_study(models))
    assert left_out == []
    expected = ["depth", "depth_symbolic_semantic", "contrasts", "cost", "use", "lens"]
    expected += [f"emergence_{model}" for model in models]
    expected += ["predictors", "predictors_added"] if len(models) > 2 else []
    assert [picture.name for picture in pictures] == [*expected, "recipes_alpha"]


def test_charts_show_the_first_set_of_wordings() -> None:
    pictures, _ = describe_pictures(*_study({"alpha": 4}))
    shown = {picture.name: set(picture.data["wordings"]) for picture in pictures if "wordings" in picture.data}
    assert shown.pop("depth_symbolic_semantic") == {"symbolic+semantic"}
    assert set(shown) == {"depth", "contrasts", "cost", "use", "lens", "emergence_alpha"}
    assert all(wordings == {"symbolic"} for wordings in shown.values())


def test_without_a_finished_plain_cell_there_is_none() -> None:
    results, decided = _study({"alpha": 4})
    assert describe_pictures(results, replace(decided, outcomes=decided.outcomes[:0])) == ([], [])


def test_a_picture_that_cannot_be_described_is_left_out_and_named() -> None:
    results, decided = _study({"alpha": 4})
    pictures, left_out = describe_pictures(results, replace(decided, doses=pd.DataFrame({"weight": ["x"]})))
    assert "use" not in {picture.name for picture in pictures}
    assert len(left_out) == 1
    assert "use" in str(left_out[0])
