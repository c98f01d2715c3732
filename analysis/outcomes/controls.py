"""What a control does beside the plain cell that differs from it in one thing, prompt by prompt."""

import pandas as pd

from analysis.data.results import PLACE, Results, StudyUnit, place
from analysis.data.statistics import Interval, accuracy_of, bounds
from analysis.outcomes.preservation import paired_difference
from study.config.arms import arms_that_are
from study.config.study import Decisions

CONTROLS = arms_that_are("control")
MANIPULATIONS = arms_that_are("manipulation")
COLUMNS = [
    *(*PLACE, "tier", "arm", "choice", "choice_low", "choice_high", "plain_choice"),
    *(f"{name}{end}" for name in ("difference", "answers_difference") for end in ("", "_low", "_high")),
]


def controls(results: Results) -> pd.DataFrame:
    """One row a finished cell of an arm other than plain, with a finished plain partner, and tier.

    `choice` is the arm's choice accuracy at the trained layer, of the class tokens that the arm was trained on;
    `difference` is the plain partner's minus the arm's, paired by prompt, as a share; `answers_difference` is the same
    of the answers. Intervals of differences: bootstrap clustered by operand pair.
    """
    rows = []
    for cell in results.cells:
        if cell.arm != "plain" and cell.finished and (partner := results.plain_of(cell)):
            rows += [row for tier in results.tiers if (row := _compare(results, cell, partner, tier))]
    return pd.DataFrame(rows, columns=COLUMNS)


def _compare(results: Results, cell: StudyUnit, partner: StudyUnit, tier: str) -> dict[str, object] | None:
    decisions = results.decisions
    arm, plain = (results.lens_at(unit, "stage2", unit.readout, unit.layer) for unit in (cell, partner))
    difference = paired_difference(plain, arm, "choice", tier, decisions)
    if difference is None:
        return None
    after, before = (results.answers_at(unit, "stage2") for unit in (partner, cell))
    return {
        **place(cell),
        "tier": tier,
        "arm": cell.arm,
        **bounds("choice", _choice(arm, tier, decisions)),
        "plain_choice": _choice(plain, tier, decisions).estimate,
        **bounds("difference", difference),
        **bounds("answers_difference", paired_difference(after, before, "right", tier, decisions)),
    }


def _choice(lens: pd.DataFrame, tier: str, decisions: Decisions) -> Interval:
    rows = lens[lens["tier"] == tier]
    return accuracy_of(rows, "choice", decisions.confidence)
