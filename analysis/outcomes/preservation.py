"""Whether the model still computes: answer accuracy at every stage, and what stage 2 did to it."""

import math
from enum import StrEnum

import numpy as np
import pandas as pd

from analysis.data.results import PLACE, Results, StudyUnit, place
from analysis.data.statistics import Interval, accuracy_of, bounds, paired_mean
from study.config.study import Decisions

AGAINST = ("stage 1", "w = 0")
"""What stage 2 is compared with."""
ACCURACY = [*PLACE, "stage", "tier", "prompts", "right", "right_low", "right_high", "number_right", "nll"]
PRESERVED = [
    *(*PLACE, "tier", "against", "stage1_accuracy"),
    *("difference", "difference_low", "difference_high", "verdict"),
]


class Verdict(StrEnum):
    """What stage 2 did to the answers."""

    PRESERVED = "preserved"
    UNDECIDED = "undecided"
    HURT = "hurt"
    FLOOR = "at floor: cannot show"


def accuracies(results: Results) -> pd.DataFrame:
    """One row a finished evaluation and tier: balanced accuracy with its interval, and mean answer NLL in nats."""
    rows = []
    for unit in results.units.values():
        if not unit.finished or unit.kind not in ("reference", "cell"):
            continue
        for stage in ("baseline", "stage1") if unit.kind == "reference" else ("stage2",):
            answers = results.answers_at(unit, stage)
            for tier in results.tiers:
                at_tier = answers[answers["tier"] == tier]
                if not at_tier.empty:
                    rows.append(_accuracy(unit, stage, tier, at_tier, results.decisions))
    return pd.DataFrame(rows, columns=ACCURACY)


def preservation(results: Results) -> pd.DataFrame:
    """One row a finished cell, judged tier and comparison (stage 1, w = 0): paired difference in accuracy, verdict."""
    rows = []
    for cell in results.cells:
        reference = results.reference_of(cell)
        if not cell.finished or reference is None:
            continue
        after, stage1 = (
            results.answers_at(cell, "stage2"),
            results.answers_at(reference, "stage1"),
        )
        zero = results.zero_of(cell)
        comparisons = {"stage 1": stage1} | ({"w = 0": results.answers_at(zero, "stage2")} if zero else {})
        for tier in results.judged_tiers:
            level = float(stage1.loc[stage1["tier"] == tier, "right"].mean())
            for against, before in comparisons.items():
                difference = paired_difference(after, before, "right", tier, results.decisions)
                if difference is not None and not math.isnan(level):
                    rows.append(
                        {
                            **place(cell),
                            "tier": tier,
                            "against": against,
                            "stage1_accuracy": level,
                            **bounds("difference", difference),
                            "verdict": verdict(level, difference, results.decisions).value,
                        }
                    )
    return pd.DataFrame(rows, columns=PRESERVED)


def verdict(stage1_accuracy: float, difference: Interval, decisions: Decisions) -> Verdict:
    """Non-inferiority by the lower bound; hurt where the whole interval lies below zero and the margin is not kept."""
    if stage1_accuracy < decisions.floor:
        return Verdict.FLOOR
    if difference.low > -decisions.non_inferiority_margin:
        return Verdict.PRESERVED
    return Verdict.HURT if difference.high < 0 else Verdict.UNDECIDED


def paired_difference(
    after: pd.DataFrame, before: pd.DataFrame, column: str, tier: str, decisions: Decisions
) -> Interval | None:
    """`after` minus `before`, prompt by prompt, of a column of verdicts; None where no prompt is in both.

    Both frames are indexed by prompt_id.
    """
    after, before = after[after["tier"] == tier], before[before["tier"] == tier]
    difference = (after[column].astype(float) - before[column].astype(float)).dropna()
    if difference.empty:
        return None
    operands = after.loc[difference.index, "operands"].to_numpy(str)
    values = np.asarray(difference, np.float64)
    return paired_mean(values, operands, decisions.confidence, decisions.resamples)


def _accuracy(unit: StudyUnit, stage: str, tier: str, rows: pd.DataFrame, decisions: Decisions) -> dict[str, object]:
    right = accuracy_of(rows, "right", decisions.confidence)
    return {
        **place(unit),
        "stage": stage,
        "tier": tier,
        "prompts": len(rows),
        **bounds("right", right),
        "number_right": float(rows["number_right"].mean()),
        "nll": float(rows["nll"].mean()),
    }
