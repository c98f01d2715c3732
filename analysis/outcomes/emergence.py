"""What counts as emergence: the study's definitions, applied to its rows."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from analysis.data.numbers import probability, share, signed_probability
from analysis.data.results import Results, StudyUnit, place
from analysis.data.statistics import Interval, accuracy_of, bounds, clustered_mean
from study.config.study import Decisions

RUNNING_STEPS = 20
"""Window of the running mean over the class loss."""


class Outcome(StrEnum):
    """What became of a cell on a tier, best first."""

    EMERGENT = "emergent"
    DISCRIMINATING = "discriminating"
    PARTIAL = "partial"
    MASS_ONLY = "mass only"
    NONE = "none"
    OPTIMISATION_FAILURE = "optimisation failure"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Evidence:
    """The numbers that decide a cell's outcome on one tier, at the trained layer."""

    classes: int
    class_loss: float
    """Lowest running mean of the class loss in training, nats."""
    choice: Interval
    """Choice accuracy, balanced over classes."""
    p: Interval
    """Mean probability of the right class token."""
    gain_stage1: Interval | None
    """Paired gain in p over stage 1; None where no finished reference exists."""
    gain_zero: Interval | None
    """Paired gain in p over w = 0; None where no finished w = 0 cell exists."""
    shuffled_choice: Interval | None = None
    """Choice accuracy of the shuffled-label cell; None for a control, and where no such cell finished: then the
    criterion was not run, and neither met nor missed."""
    shuffled_layer: int | None = None
    """Where the shuffled-label cell was trained."""


def decide(evidence: Evidence, decisions: Decisions) -> tuple[Outcome, list[str]]:
    """The outcome, and in words every criterion of `emergent` that was missed."""
    missed = missed_criteria(evidence, decisions)
    return _outcome(evidence, decisions, missed), missed


def _outcome(evidence: Evidence, decisions: Decisions, missed: list[str]) -> Outcome:
    if not evidence.class_loss < math.log(evidence.classes):
        return Outcome.OPTIMISATION_FAILURE
    if evidence.gain_stage1 is None:
        return Outcome.UNDECIDED
    if evidence.gain_stage1.low <= 0:
        return Outcome.NONE
    if not missed:
        return Outcome.EMERGENT
    if evidence.choice.low >= decisions.choice_accuracy and evidence.p.low < decisions.probability:
        return Outcome.DISCRIMINATING
    return Outcome.PARTIAL if evidence.choice.low > 1 / evidence.classes else Outcome.MASS_ONLY


def missed_criteria(evidence: Evidence, decisions: Decisions) -> list[str]:
    """Every criterion of `emergent` that the evidence misses, in words with its figures."""
    missed = []
    if not evidence.class_loss < math.log(evidence.classes):
        limit = f"ln {evidence.classes} = {math.log(evidence.classes):.3f}"
        missed.append(f"class loss in training fell to {evidence.class_loss:.3f}, not below {limit}")
    if evidence.choice.low < decisions.choice_accuracy:
        bound = f"{100 * evidence.choice.low:.1f} % is below {share(decisions.choice_accuracy)}"
        missed.append(f"choice accuracy {share(evidence.choice)}: the lower bound {bound}")
    if evidence.p.low < decisions.probability:
        bound = f"{evidence.p.low:.3f} is below {probability(decisions.probability)}"
        missed.append(f"p {probability(evidence.p)}: the lower bound {bound}")
    for name, gain in (
        ("stage 1", evidence.gain_stage1),
        ("w = 0", evidence.gain_zero),
    ):
        if gain is None:
            missed.append(f"gain in p over {name} unknown: not finished")
        elif gain.low <= 0:
            missed.append(f"gain in p over {name} {signed_probability(gain)} does not exclude zero")
    shuffled = evidence.shuffled_choice
    if shuffled is not None and shuffled.low >= decisions.choice_accuracy:
        missed.append(f"shuffled labels at L{evidence.shuffled_layer} do the same: choice accuracy {share(shuffled)}")
    return missed


def judge(results: Results) -> pd.DataFrame:
    """One row a finished cell with a class loss and tier: the numbers, the outcome and the criteria missed.

    A plain cell is also held against the shuffled-label cell of `Results.shuffled_of`, on the same tier.
    """
    collected = {cell.id: collect(results, cell) for cell in results.cells if cell.finished}
    rows = []
    for cell in results.cells:
        shuffled = results.shuffled_of(cell) if cell.arm == "plain" else None
        for tier, evidence in collected.get(cell.id, {}).items():
            if shuffled and tier in collected[shuffled.id]:
                choice = collected[shuffled.id][tier].choice
                evidence = replace(evidence, shuffled_choice=choice, shuffled_layer=shuffled.layer)
            outcome, missed = decide(evidence, results.decisions)
            decided = {"outcome": outcome.value, "missed": "; ".join(missed)}
            rows.append(_row(cell, tier, evidence) | {"leakage": leakage(results, cell, tier)} | decided)
    return pd.DataFrame(rows, columns=JUDGED)


def emergent_where_trained(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows of plain cells that are emergent on every wording they were trained on."""
    trained = judged[(judged["arm"] == "plain") & ~judged["transfer"].astype(bool)]
    everywhere = (trained["outcome"] == Outcome.EMERGENT).groupby(trained["unit"]).all()
    return judged[judged["unit"].isin(everywhere[everywhere].index)]


def lowest_class_loss(curve: pd.DataFrame) -> float:
    """Lowest running mean of the class loss over RUNNING_STEPS steps, or over the whole of a shorter run."""
    return float(curve["class_loss"].rolling(min(RUNNING_STEPS, len(curve))).mean().min())


def leakage(results: Results, cell: StudyUnit, tier: str) -> float:
    """Mean summed probability of the class tokens at the model's own output, where they should not appear."""
    rows = results.lens_at(cell, "stage2", cell.readout, cell.blocks - 1)
    return float(np.exp(rows.loc[rows["tier"] == tier, "log_mass"]).mean())


def collect(results: Results, cell: StudyUnit) -> dict[str, Evidence]:
    """The evidence on a finished cell, by tier, without the shuffled-label cell's."""
    decisions = results.decisions
    class_loss = lowest_class_loss(results.rows["curves"][cell.id])
    after = results.lens_at(cell, "stage2", cell.readout, cell.layer)
    reference, zero = results.reference_of(cell), results.zero_of(cell)
    before = results.lens_at(reference, "stage1", cell.readout, cell.layer) if reference else None
    control = results.lens_at(zero, "stage2", cell.readout, cell.layer) if zero else None
    found: dict[str, Evidence] = {}
    for tier in results.tiers:
        rows = after[after["tier"] == tier]
        if rows.empty:
            continue
        found[tier] = Evidence(
            classes=len(cell.operations),
            class_loss=class_loss,
            choice=accuracy_of(rows, "choice", decisions.confidence),
            p=clustered_mean(
                np.exp(rows["log_p"].to_numpy(float)),
                rows["operands"].to_numpy(str),
                decisions.confidence,
                decisions.resamples,
            ),
            gain_stage1=_gain(rows, before, decisions),
            gain_zero=_gain(rows, control, decisions),
        )
    return found


def _row(cell: StudyUnit, tier: str, evidence: Evidence) -> dict[str, object]:
    return {
        **place(cell),
        "label": cell.label,
        "arm": cell.arm,
        "wordings": "+".join(cell.wordings),
        "tier": tier,
        "transfer": tier not in cell.wordings,
        "class_loss": evidence.class_loss,
        **bounds("choice", evidence.choice),
        **bounds("p", evidence.p),
        **bounds("gain_stage1", evidence.gain_stage1),
        **bounds("gain_zero", evidence.gain_zero),
        **bounds("shuffled_choice", evidence.shuffled_choice),
        "shuffled_layer": math.nan if evidence.shuffled_layer is None else evidence.shuffled_layer,
    }


def _gain(rows: pd.DataFrame, before: pd.DataFrame | None, decisions: Decisions) -> Interval | None:
    """Paired gain in p, prompt by prompt; None where there is nothing to compare with."""
    if before is None:
        return None
    gain = (np.exp(rows["log_p"]) - np.exp(before["log_p"])).dropna()
    if gain.empty:
        return None
    operands = rows.loc[gain.index, "operands"].to_numpy(str)
    return clustered_mean(gain.to_numpy(float), operands, decisions.confidence, decisions.resamples)


JUDGED = [
    *("unit", "label", "model", "pair", "layer", "depth", "weight", "seed", "arm", "wordings", "tier", "transfer"),
    "class_loss",
    *(f"{name}{end}" for name in ("choice", "p", "gain_stage1", "gain_zero") for end in ("", "_low", "_high")),
    *("shuffled_choice", "shuffled_choice_low", "shuffled_choice_high", "shuffled_layer"),
    *("leakage", "outcome", "missed"),
]
"""Columns of `judge`, there even when nothing is finished."""
