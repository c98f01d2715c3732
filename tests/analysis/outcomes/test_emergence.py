"""The outcomes of studies whose truth is known."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import read_results
from analysis.data.statistics import Interval
from analysis.outcomes.emergence import Evidence, Outcome, decide, judge, lowest_class_loss
from analysis.outcomes.preservation import Verdict, preservation, verdict
from study.config.study import Decisions
from tests.simulated import Plan, Point, Truth, write_study

DECISIONS = Decisions()


# Outcomes

SURE = Interval(0.99, 0.95, 1.0)
HALF = Interval(0.5, 0.4, 0.6)
GAIN = Interval(0.9, 0.8, 0.95)
NOTHING = Interval(0.0, -0.1, 0.1)
EMERGENT = Evidence(classes=2, class_loss=0.1, choice=SURE, p=SURE, gain_stage1=GAIN, gain_zero=GAIN)


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (EMERGENT, Outcome.EMERGENT),
        (replace(EMERGENT, class_loss=0.7), Outcome.OPTIMISATION_FAILURE),
        (replace(EMERGENT, class_loss=math.nan), Outcome.OPTIMISATION_FAILURE),
        (replace(EMERGENT, gain_stage1=NOTHING), Outcome.NONE),
        (replace(EMERGENT, p=Interval(0.3, 0.2, 0.4)), Outcome.DISCRIMINATING),
        (replace(EMERGENT, choice=Interval(0.85, 0.8, 0.9)), Outcome.PARTIAL),
        (replace(EMERGENT, gain_zero=NOTHING), Outcome.PARTIAL),
        (replace(EMERGENT, gain_zero=None), Outcome.PARTIAL),
        (replace(EMERGENT, shuffled_choice=SURE, shuffled_layer=3), Outcome.PARTIAL),
        (replace(EMERGENT, shuffled_choice=HALF, shuffled_layer=3), Outcome.EMERGENT),
        (replace(EMERGENT, choice=HALF), Outcome.MASS_ONLY),
        (replace(EMERGENT, choice=HALF, p=HALF), Outcome.MASS_ONLY),
        (replace(EMERGENT, gain_stage1=None), Outcome.UNDECIDED),
        (replace(EMERGENT, class_loss=0.7, gain_stage1=None), Outcome.OPTIMISATION_FAILURE),
    ],
)
def test_the_numbers_decide_the_outcome(evidence: Evidence, outcome: Outcome) -> None:
    found, missed = decide(evidence, DECISIONS)
    assert found == outcome
    assert bool(missed) == (outcome != Outcome.EMERGENT)


def test_chance_depends_on_the_number_of_classes() -> None:
    three = replace(EMERGENT, classes=3, choice=Interval(0.45, 0.38, 0.52))
    assert decide(three, DECISIONS)[0] == Outcome.PARTIAL
    assert decide(replace(three, classes=2), DECISIONS)[0] == Outcome.MASS_ONLY


def test_every_missed_criterion_is_named_with_its_figures() -> None:
    poor = Evidence(classes=2, class_loss=0.75, choice=HALF, p=HALF, gain_stage1=NOTHING, gain_zero=None)
    assert decide(poor, DECISIONS)[1] == [
        "class loss in training fell to 0.750, not below ln 2 = 0.693",
        "choice accuracy 50 % [40, 60]: the lower bound 40.0 % is below 90 %",
        "p 0.50 [0.40, 0.60]: the lower bound 0.400 is below 0.50",
        "gain in p over stage 1 +0.00 [-0.10, +0.10] does not exclude zero",
        "gain in p over w = 0 unknown: not finished",
    ]


def test_the_class_loss_is_judged_by_its_running_mean() -> None:
    spike = pd.DataFrame({"class_loss": [1.0] * 30 + [0.0] + [1.0] * 30})
    assert lowest_class_loss(spike) == pytest.approx(0.95)
    assert lowest_class_loss(spike.iloc[:10]) == pytest.approx(1.0)


PLANTED: Mapping[float, tuple[Truth, Outcome]] = {
    0.125: (Truth(class_loss=3.0), Outcome.OPTIMISATION_FAILURE),
    0.25: (Truth(choice=0.5, mass=1e-5), Outcome.NONE),
    0.375: (Truth(choice=0.5, mass=0.98), Outcome.MASS_ONLY),
    0.5: (Truth(choice=0.75, mass=0.98), Outcome.PARTIAL),
    0.75: (Truth(choice=1.0, mass=0.3), Outcome.DISCRIMINATING),
    1.0: (Truth(), Outcome.EMERGENT),
}


def _planted(point: Point) -> Truth:
    return PLANTED[point.depth][0]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(models={"alpha": 8}, depths=tuple(PLANTED), pairs=("multiply/add",), weights=(0.0, 0.5), truth=_planted)
    return write_study(tmp_path_factory.mktemp("results") / "planted", plan)


def test_a_study_shows_the_outcome_that_was_planted(planted: Path) -> None:
    judged = judge(read_results(planted))
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
        judged = judge(read_results(planted))
    finally:
        marker.write_text(content)
    deepest = judged[judged["depth"] == 1.0]
    assert set(deepest["outcome"]) == {"partial"}
    assert set(deepest["missed"]) == {"gain in p over w = 0 unknown: not finished"}


# Preservation


@pytest.mark.parametrize(
    ("stage1", "difference", "expected"),
    [
        (0.6, Interval(0.0, -0.02, 0.02), Verdict.PRESERVED),
        (0.6, Interval(-0.01, -0.02, -0.001), Verdict.PRESERVED),
        (0.6, Interval(-0.02, -0.05, 0.01), Verdict.UNDECIDED),
        (0.6, Interval(-0.1, -0.15, -0.05), Verdict.HURT),
        (0.08, Interval(0.0, -0.01, 0.01), Verdict.FLOOR),
    ],
)
def test_the_interval_decides_what_was_kept(stage1: float, difference: Interval, expected: Verdict) -> None:
    assert verdict(stage1, difference, DECISIONS) == expected


def test_the_floor_is_a_decision() -> None:
    assert verdict(0.2, Interval(0.0, -0.01, 0.01), Decisions(floor=0.3)) == Verdict.FLOOR


def test_a_planted_loss_is_found_where_it_was_planted(tmp_path: Path) -> None:
    def truth(point: Point) -> Truth:
        return Truth(accuracy_lost=0.25 if point.tier == "semantic" else 0.0)

    plan = Plan(
        models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), truth=truth, per_class=72
    )
    kept = preservation(read_results(write_study(tmp_path / "loss", plan))).set_index(["tier", "against"])["verdict"]
    assert set(kept["semantic"]) == {"hurt"}
    assert set(kept["symbolic"]) == {"preserved"}


def test_few_unchanged_prompts_do_not_prove_preservation(tmp_path: Path) -> None:
    plan = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.5,), per_class=24)
    kept = preservation(read_results(write_study(tmp_path / "few", plan)))
    assert set(kept["difference"]) == {0.0}
    assert set(kept["verdict"]) == {"undecided"}
