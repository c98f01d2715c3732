"""Areas of a sample of small models, and what they vary with, against simulated studies whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes.answers import accuracies
from analysis.outcomes.sample import areas, variance
from analysis.report import write_report
from study.config.nursery import NurserySample
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow

SAMPLE = {"architectures": ["llama", "gpt2", "mamba2", "olmo2"], "each": 2, "blocks": [4], "hidden_size": [32, 64]}
MODELS = NurserySample.model_validate({**SAMPLE, "attention_heads": [2]}).models
DEPTHS = (0.25, 0.5, 0.75, 1.0)
HIGH = {"llama": 0.95, "gpt2": 0.9, "mamba2": 0.6, "olmo2": 0.55}
"""Choice accuracies of architectures on construction."""


def _truth(point: Point) -> Truth:
    if point.tier == "construction":
        return Truth(choice=HIGH[str(MODELS[point.model].architecture)])
    return Truth(choice=0.9 if point.depth > 0.5 else 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(
        models=dict.fromkeys(MODELS, 4),
        depths=DEPTHS,
        pairs=("multiply/add",),
        weights=(0.5,),
        seeds=(0, 1),
        truth=_truth,
        per_class=48,
    )
    root = write_study(tmp_path_factory.mktemp("sample") / "sample", plan)
    study = json.loads((root / "study.json").read_text())
    study["config"]["nursery"] = {"sample": {**SAMPLE, "attention_heads": [2]}}
    (root / "study.json").write_text(json.dumps(study))
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results(folder)


def test_areas_are_those_of_the_curves_that_were_planted(results: Results) -> None:
    found = areas(results, accuracies(results))
    assert set(found["model"]) == set(MODELS)
    assert set(found["seed"]) == {0, 1}
    for architecture, own in found[found["tier"] == "construction"].groupby("architecture"):
        assert own["area"].mean() == pytest.approx(2 * HIGH[str(architecture)] - 1, abs=0.07)
    # 0 up to half of the depth, then a line to .8, then .8: the mean over the depths from .25 to 1.
    stepped = found.loc[found["tier"] == "semantic", "area"].mean()
    assert stepped == pytest.approx(np.trapezoid([0, 0, 0.8, 0.8], DEPTHS) / 0.75, abs=0.03)


def test_variance_is_of_architectures_where_they_differ_at_one_tier(results: Results) -> None:
    told = variance(results, areas(results, accuracies(results))).set_index("component")
    assert (told["architectures"] == 4).all()
    assert (told["models"] == 8).all()
    assert told["share"].sum() == pytest.approx(1)
    # They differ on construction alone: half of it is theirs everywhere, and half theirs at that tier.
    assert told.loc[["architecture", "architecture x tier"], "share"].sum() > 0.4
    assert told.loc[["seed", "model", "model x tier"], "share"].sum() < 0.1


def test_a_model_that_lacks_a_seed_leaves_its_architecture_out(results: Results) -> None:
    found = areas(results, accuracies(results))
    model = str(found["model"].iloc[0])
    told = variance(results, found[(found["model"] != model) | (found["seed"] == 0)])
    assert (told["architectures"] == 3).all()
    few = found[found["architecture"].isin(["llama", "gpt2"])]
    assert variance(results, few).empty


def test_a_model_that_did_not_learn_the_task_leaves_its_architecture_out(results: Results) -> None:
    accuracy = accuracies(results)
    found = areas(results, accuracy)
    assert found["learned"].all()
    model = str(found["model"].iloc[0])
    own = (accuracy["stage"] == "stage1") & (accuracy["model"] == model) & (accuracy["tier"] == "symbolic")
    told = areas(results, accuracy.assign(right=accuracy["right"].mask(own, 0.49)))
    assert (told["learned"] == (told["model"] != model)).all()
    assert (told.loc[told["tier"] == "symbolic", "answers"] == 0.49).sum() == 2
    assert (variance(results, told)["architectures"] == 3).all()


def test_the_report_tells_what_areas_vary_with(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    assert write_report(folder, out) == []
    text = out.read_text()
    assert "What areas vary with: the share of each component" in text
    assert "| multiply/add | 4 | 4 | 8 | 2 | architecture |" in text
    written = pd.read_csv(out.with_suffix("") / "table_areas.csv")
    assert len(written) == 8 * 4 * 2


def test_the_map_has_every_model_from_the_highest_mean_to_the_lowest(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    write_report(folder, out)
    drawn = pd.read_csv(out.with_suffix("") / "sample.csv")
    assert len(drawn) == 8 * 4
    text = next(line for line in out.read_text().splitlines() if line.startswith("![Heat map of 8 models by 4 tiers"))
    highest, lowest = (drawn.groupby("model")["area"].mean().sort_values().index[place] for place in (-1, 0))
    assert f"Highest mean over tiers: {highest} " in text
    assert f"lowest: {lowest} " in text
    image = (out.with_suffix("") / "sample.svg").read_text()
    places = [image.index(f">{name}<") for name in drawn.groupby("model")["area"].mean().sort_values().index]
    assert len(places) == 8
