"""Forecasts that are held against a study, on tables whose scores are known."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis.scoring import compared, main, scores

REPORTS = Path(__file__).parents[2] / "reports"
DEPTHS = np.arange(1, 9) / 9
TRAINED = (1, 4, 7)


def write(place: Path, noise: float = 0.0) -> tuple[Path, Path]:
    """Forecasts of two models at eight layers, and a report that trained three of these."""
    predictions, report, random = place / "told", place / "report", np.random.default_rng(0)
    measured = []
    for model, shift in (("one", 0.0), ("two", 0.2)):
        rows = [
            {
                "arm": "plain",
                "pair": "x/y",
                "tier": tier,
                "layer": layer,
                "depth": depth,
                "foretold": 0.3 + 0.6 * depth + 0.1 * place_,
            }
            for place_, tier in enumerate(("near", "far"))
            for layer, depth in enumerate(DEPTHS)
        ]
        told = pd.DataFrame(rows)
        told = told.assign(foretold_low=told["foretold"] - 0.1, foretold_high=told["foretold"] + 0.1)
        told["depth_alone"] = 1 - told["depth"]
        (predictions / model).mkdir(parents=True)
        told.to_csv(predictions / model / "curves.csv", index=False)
        choice = told["foretold"] - shift + noise * random.standard_normal(len(told))
        seen = told[["arm", "pair", "tier", "layer"]].assign(
            model=model, choice=choice, choice_low=choice, choice_high=choice
        )
        measured.append(seen[seen["layer"].isin(TRAINED)])
    means = pd.concat(measured).assign(templates="unseen", seeds=3, weight=0.5, wordings="first")
    others = [means.assign(**{key: value, "choice": 0.0}) for key, value in _others.items()]
    report.mkdir()
    pd.concat([means, *others]).to_csv(report / "table_means.csv", index=False)
    return predictions, report


_others = {"arm": "random_words", "templates": "seen", "seeds": 0, "wordings": "first+near"}
"""What the cells that are not compared differ in."""


def test_what_is_foretold_is_held_against_plain_cells_on_new_templates_where_they_were_trained(tmp_path: Path) -> None:
    places = compared(*write(tmp_path))
    assert len(places) == 2 * 2 * len(TRAINED)
    assert set(places["layer"]) == set(TRAINED)
    assert (places["choice"] > 0).all()


def test_scores_are_those_of_every_layer_and_wording(tmp_path: Path) -> None:
    places = compared(*write(tmp_path, noise=0.05))
    found = scores(places).set_index("model")
    for model, own in places.groupby("model"):
        assert found.loc[model, "rank_foretold"] == pytest.approx(spearmanr(own["foretold"], own["choice"])[0])
        assert found.loc[model, "error_foretold"] == pytest.approx(np.abs(own["foretold"] - own["choice"]).mean())
        inside = (np.abs(own["foretold"] - own["choice"]) <= 0.1 + 1e-9).mean()
        assert found.loc[model, "in_band"] == pytest.approx(inside)
    assert (found["rank_foretold"] > 0.8).all()
    assert (found["rank_depth_alone"] < 0).all()


def test_the_error_in_depth_is_the_distance_of_the_crossings_and_never_counts_as_1(tmp_path: Path) -> None:
    found = scores(compared(*write(tmp_path))).set_index("model")
    assert found.loc["one", "depth_error_foretold"] == pytest.approx(0)
    # Measured 20 points lower: not reached at any depth that was trained.
    at = DEPTHS[list(TRAINED)]
    crossing = {tier: np.interp(0.75, 0.3 + 0.6 * at + more, at) for tier, more in (("near", 0.0), ("far", 0.1))}
    expected = ((1 - crossing["near"]) + (1 - crossing["far"])) / 2
    assert found.loc["two", "depth_error_foretold"] == pytest.approx(expected)


def test_the_page_says_whether_the_goal_was_reached(tmp_path: Path) -> None:
    predictions, report = write(tmp_path)
    assert main([str(predictions), str(tmp_path / "page.md"), str(report)]) == 0
    said = (tmp_path / "page.md").read_text()
    assert "**The order of layers and wordings was foretold**: rank correlation one (report, plain) 1.00" in said
    assert "| [report](report.md) | plain | two | 6 | 1.00 |" in said
    assert (tmp_path / "page" / "foretold.svg").is_file()
    tables = pd.read_csv(report / "table_means.csv")
    lower = 1 - tables["choice"]
    tables.assign(choice=lower, choice_low=lower, choice_high=lower).to_csv(report / "table_means.csv", index=False)
    assert main([str(predictions), str(tmp_path / "page.md"), str(report)]) == 0
    assert "**The goal was missed**" in (tmp_path / "page.md").read_text()


def test_the_committed_page_is_made_from_the_committed_forecasts_and_reports(tmp_path: Path) -> None:
    shutil.copytree(REPORTS / "predictions", tmp_path / "predictions")
    studies = [str(REPORTS / name) for name in ("foretold", "architecture_comparison")]
    assert main([str(tmp_path / "predictions"), str(tmp_path / "predictions.md"), *studies]) == 0
    assert (tmp_path / "predictions.md").read_bytes() == (REPORTS / "predictions.md").read_bytes()
    for name in ("places.csv", "scores.csv"):
        assert (tmp_path / "predictions" / name).read_bytes() == (REPORTS / "predictions" / name).read_bytes()


def test_what_cannot_be_scored_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, report = write(tmp_path)
    (tmp_path / "empty").mkdir()
    for told, of in ((tmp_path / "empty", report), (predictions, tmp_path / "empty")):
        assert main([str(told), str(tmp_path / "page.md"), str(of)]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert main([]) == 2
