"""Which predictor explains where classes are read in a sample, against a simulated study in which one does."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import read_results
from analysis.outcomes import decide_study
from analysis.outcomes.explanation import TOO_FEW, explanations, sample_cells
from analysis.report import write_report
from study.config.nursery import NurserySample
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow

ARCHITECTURES = "llama gpt2 mamba2 olmo2 qwen3 cohere starcoder2 gpt_neox mixtral phi".split()
SAMPLE = {"each": 2, "blocks": [4, 8], "hidden_size": [32], "attention_heads": [2]}
DEPTHS = (0.25, 0.5, 0.75, 1.0)
_RNG = np.random.default_rng(5)
CURVES = {(name, depth): float(_RNG.uniform(0.55, 0.95)) for name in ARCHITECTURES for depth in DEPTHS}
"""Choice accuracy of each architecture at each depth."""


def _choice(point: Point) -> float:
    name = point.model.rpartition("-")[0]
    return float(np.interp(point.depth, DEPTHS, [CURVES[name, depth] for depth in DEPTHS]))


def _predictors(point: Point) -> Mapping[str, float]:
    """a_lin tells the choice accuracy, and the other predictors are noise."""
    return {"a_lin": 10 * _choice(point)}


def _study(folder: Path, architectures: list[str]) -> Path:
    sample = {"architectures": architectures, **SAMPLE}
    models = NurserySample.model_validate(sample).models
    plan = Plan(
        models={name: one.blocks for name, one in models.items()},
        depths=DEPTHS,
        pairs=("multiply/add",),
        weights=(0.5,),
        truth=lambda point: Truth(choice=_choice(point)),
        predictors=_predictors,
    )
    root = write_study(folder, plan)
    study = json.loads((root / "study.json").read_text())
    study["config"]["nursery"] = {"sample": sample}
    (root / "study.json").write_text(json.dumps(study))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _study(tmp_path_factory.mktemp("explanation") / "sample", ARCHITECTURES)


@pytest.fixture(scope="module")
def rows(folder: Path) -> pd.DataFrame:
    return decide_study(read_results(folder)).explained.set_index("predictor")


def test_the_predictor_that_tells_the_curves_explains_and_the_others_do_not(rows: pd.DataFrame) -> None:
    assert rows.loc["a_lin", "words"] == "explains"
    assert rows.loc["a_lin", "increment"] > 0.3
    others = rows.drop("a_lin")
    assert "explains" not in set(others["words"])
    assert (others["increment"].abs() < 0.1).all()
    assert (rows["architectures"] == 10).all()
    assert (rows["models"] == 20).all()
    # Two models, three tiers that cells did not train on, and three depths: not the last block.
    assert (rows["places"] == 2 * 3 * 3).all()
    assert (rows["p_holm"] >= rows["p"]).all()


def test_few_architectures_decide_nothing(tmp_path: Path) -> None:
    rows = decide_study(read_results(_study(tmp_path / "few", ARCHITECTURES[:4]))).explained
    assert set(rows["words"]) == {TOO_FEW}
    assert rows["p"].isna().all()


def test_the_report_answers_why_there(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    assert write_report(folder, out) == []
    text = out.read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| Why there? |"))
    assert "explained by accuracy of the unembedding rows (a_lin)" in line
    assert "10 architectures left out in turn" in line
    assert "| a_lin | 10 | 20 |" in text
    assert (out.with_suffix("") / "table_explained.csv").is_file()


def test_cells_that_did_not_fit_and_architectures_that_lack_a_place_are_left_out(folder: Path) -> None:
    results = read_results(folder)
    decided = decide_study(results)
    found, drawn, measured = decided.levels, decided.areas, decided.predictors
    one = found["model"] == "llama-4x32h2"

    def of(drawn: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
        return explanations(results, sample_cells(results, drawn, found, measured))

    assert (of(drawn, found.assign(fitted=found["fitted"] & ~one))["architectures"] == 9).all()
    # Two architectures with as many rows as one another, but of other places.
    lacking = (one & (found["tier"] == "story")) | ((found["model"] == "gpt2-4x32h2") & (found["tier"] == "semantic"))
    assert (of(drawn, found[~lacking])["architectures"] == 8).all()
    unlearned = drawn.assign(learned=drawn["model"] != "llama-4x32h2")
    assert (of(unlearned, found)["architectures"] == 9).all()
