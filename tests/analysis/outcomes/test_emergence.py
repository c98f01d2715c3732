"""The outcomes of studies whose truth is known."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import read_results
from analysis.outcomes.emergence import Evidence, Outcome, decide, judge
from analysis.outcomes.fit import final_class_loss
from analysis.outcomes.levels import levels
from analysis.statistics.intervals import Interval
from study.config.evaluation import Decisions
from tests.simulated import Plan, Point, Truth, list_again, write_study

DECISIONS = Decisions()


# Outcomes

SURE = Interval(0.99, 0.95, 1.0)
HALF = Interval(0.5, 0.4, 0.6)
GAIN = Interval(0.9, 0.8, 0.95)
NOTHING = Interval(0.0, -0.1, 0.1)
EMERGENT = Evidence(2, 0.1, choice=SURE, p=SURE, gain_stage1=GAIN, gain_zero=GAIN)
SEEN = replace(EMERGENT, over_memory=GAIN, templates="seen")


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (EMERGENT, Outcome.EMERGENT),
        (replace(EMERGENT, class_loss=0.7), Outcome.OPTIMISATION_FAILURE),
        (replace(EMERGENT, class_loss=math.nan), Outcome.OPTIMISATION_FAILURE),
        (replace(EMERGENT, gain_stage1=NOTHING), Outcome.NONE),
        (replace(EMERGENT, p=Interval(0.3, 0.2, 0.4)), Outcome.DISCRIMINATING),
        (replace(EMERGENT, choice=Interval(0.85, 0.8, 0.9)), Outcome.PARTIAL),
        (replace(EMERGENT, choice=Interval(0.85, 0.8, 0.9), p_above_chance=0.06), Outcome.MASS_ONLY),
        (replace(EMERGENT, choice=Interval(0.85, 0.8, 0.9), p_above_chance=0.04), Outcome.PARTIAL),
        (replace(EMERGENT, choice=Interval(0.85, 0.8, 0.9), p_above_chance=math.nan), Outcome.PARTIAL),
        (replace(EMERGENT, gain_zero=NOTHING), Outcome.PARTIAL),
        (replace(EMERGENT, gain_zero=None), Outcome.PARTIAL),
        (replace(EMERGENT, over_memory=None), Outcome.EMERGENT),
        (SEEN, Outcome.EMERGENT),
        (replace(SEEN, over_memory=NOTHING), Outcome.PARTIAL),
        (replace(SEEN, over_memory=None), Outcome.UNCONTROLLED),
        (replace(EMERGENT, choice=HALF), Outcome.MASS_ONLY),
        (replace(EMERGENT, choice=HALF, p=HALF), Outcome.MASS_ONLY),
        (replace(EMERGENT, gain_stage1=None), Outcome.UNDECIDED),
        (replace(EMERGENT, class_loss=0.7, gain_stage1=None), Outcome.OPTIMISATION_FAILURE),
    ],
)
def test_the_numbers_decide_the_outcome(evidence: Evidence, outcome: Outcome) -> None:
    found, missed = decide(evidence, DECISIONS)
    assert found == outcome
    assert bool(missed) == (outcome not in (Outcome.EMERGENT, Outcome.UNCONTROLLED))


def judged_of(folder: Path) -> pd.DataFrame:
    results = read_results(folder)
    return judge(results, levels(results))


def test_chance_depends_on_the_number_of_classes() -> None:
    three = replace(EMERGENT, classes=3, choice=Interval(0.45, 0.38, 0.52))
    assert decide(three, DECISIONS)[0] == Outcome.PARTIAL
    assert decide(replace(three, classes=2), DECISIONS)[0] == Outcome.MASS_ONLY


def test_every_missed_criterion_is_named_with_its_figures() -> None:
    poor = Evidence(2, 0.75, choice=HALF, p=HALF, gain_stage1=NOTHING, gain_zero=None, over_memory=NOTHING)
    assert decide(poor, DECISIONS)[1] == [
        "class loss in training ended at 0.750, not below ln 2 = 0.693",
        "choice accuracy 50 % [40, 60]: the lower bound 40.0 % is below 90 %",
        "p 0.50 [0.40, 0.60]: the lower bound 0.400 is below 0.50",
        "gain in p over stage 1 +0.00 [-0.10, +0.10] does not exclude zero",
        "gain in p over w = 0 unknown: not finished",
        "choice accuracy minus that of labels that are remembered, +0.0 [-10.0, +10.0], does not exclude zero",
    ]


def test_the_class_loss_is_judged_by_its_last_steps() -> None:
    losses = np.array([0.0] * 30 + [1.0] * 10 + [2.0] * 10)
    assert final_class_loss(losses) == pytest.approx(1.5)
    assert final_class_loss(losses[:10]) == pytest.approx(0.0)


PLANTED: Mapping[float, tuple[Truth, Outcome]] = {
    0.125: (Truth(class_loss=3.0), Outcome.OPTIMISATION_FAILURE),
    0.25: (Truth(choice=0.5, mass=1e-5), Outcome.NONE),
    0.375: (Truth(choice=0.5, mass=0.98), Outcome.MASS_ONLY),
    0.5: (Truth(choice=0.75, mass=0.98), Outcome.PARTIAL),
    0.75: (Truth(choice=1.0, mass=0.3), Outcome.DISCRIMINATING),
    1.0: (Truth(), Outcome.EMERGENT),
}
MEMORY = {0.75: Truth(unseen=0.5), 1.0: Truth(unseen=0.5)}


def _planted(point: Point) -> Truth:
    """Labels that are remembered fit at two depths, and are at chance in new templates."""
    if point.arm == "shuffled_labels":
        return MEMORY.get(point.depth, Truth(class_loss=3.0))
    return PLANTED[point.depth][0]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms, depths = ("plain", "shuffled_labels"), tuple(PLANTED)
    plan = Plan({"alpha": 8}, depths, ("multiply/add",), (0.0, 0.5), arms=arms, truth=_planted, per_class=108)
    return write_study(tmp_path_factory.mktemp("results") / "planted", plan)


def test_a_study_shows_the_outcome_that_was_planted(planted: Path) -> None:
    judged = judged_of(planted)
    judged = judged[judged["arm"] == "plain"]
    assert len(judged) == 4 * len(PLANTED)
    for depth, (_, outcome) in PLANTED.items():
        found = judged[judged["depth"] == depth].set_index("tier")["outcome"]
        assert found["symbolic"] == outcome
        assert (found == outcome).sum() >= 3  # at chance one tier in forty may look better


def test_without_w_zero_no_cell_is_emergent(planted: Path) -> None:
    (marker,) = planted.glob("cells/*w=0_s0*/done.json")
    content = marker.read_text()
    marker.unlink()
    try:
        judged = judged_of(planted)
    finally:
        marker.write_text(content)
    deepest = judged[(judged["depth"] == 1.0) & (judged["arm"] == "plain")]
    assert set(deepest["outcome"]) == {"partial"}
    assert set(deepest["missed"]) == {"gain in p over w = 0 unknown: not finished"}


def _all_seen(folder: Path) -> Path:
    """The rows of a study as if a training had seen every template."""
    for file in (*folder.glob("*/*/lens.parquet"), *folder.glob("*/*/answers.parquet")):
        pd.read_parquet(file).assign(seen="stage1+stage2").to_parquet(file, index=False)
        list_again(file.parent)
    return folder


def _memory(tmp_path: Path, arms: tuple[str, ...], remembered: Truth) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outcomes of plain cells on new templates, and of the same where every template was seen."""
    plan = Plan(
        {"alpha": 8},
        (0.5,),
        ("multiply/add",),
        (0.0, 0.5),
        arms=arms,
        truth=lambda point: remembered if point.arm == "shuffled_labels" else Truth(),
        per_class=54,
    )
    new = write_study(tmp_path / "new", plan)
    seen = _all_seen(write_study(tmp_path / "seen", plan))
    judged_new, judged_seen = (judged_of(folder) for folder in (new, seen))
    return judged_new[judged_new["arm"] == "plain"], judged_seen[judged_seen["arm"] == "plain"]


@pytest.mark.parametrize("arms", [("plain",), ("plain", "shuffled_labels")])
def test_on_seen_templates_without_a_control_that_fitted_it_is_emergent_uncontrolled(
    tmp_path: Path, arms: tuple[str, ...]
) -> None:
    new, seen = _memory(tmp_path, arms, Truth(class_loss=0.4, unseen=0.5))
    assert set(new["outcome"]) == {"emergent"}
    assert set(seen["outcome"]) == {"emergent (uncontrolled)"}
    assert new["over_memory"].isna().all()
    assert seen["over_memory"].isna().all()


def test_on_seen_templates_a_cell_that_is_no_better_than_memory_is_not_emergent(tmp_path: Path) -> None:
    new, seen = _memory(tmp_path, ("plain", "shuffled_labels"), Truth())
    assert set(new["outcome"]) == {"emergent"}
    assert set(seen["outcome"]) == {"partial"}
    assert seen["missed"].str.startswith("choice accuracy minus that of labels that are remembered").all()


def test_few_templates_are_too_few_to_be_emergent(tmp_path: Path) -> None:
    plan = Plan({"alpha": 8}, (0.5,), ("multiply/add",), (0.0, 0.5), per_class=30)
    judged = judged_of(write_study(tmp_path / "few", plan)).set_index("tier")
    assert (judged["choice"] == 1.0).all()
    assert set(judged["outcome"]) == {"partial"}
    assert judged.loc["construction", "samples"] == 30 < Decisions().samples_needed == 36
