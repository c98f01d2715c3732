"""What counts as emergence: the study's definitions, applied to its rows."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from analysis.data.numbers import probability, share, signed_points, signed_probability
from analysis.data.results import PLACE, Results, StudyUnit, place
from analysis.data.samples import shown, values_of
from analysis.outcomes.fit import class_loss, has_fitted
from analysis.statistics.effects import effect
from analysis.statistics.intervals import Interval, bounds, level
from study.config.study import Decisions

MEMORY = "shuffled_labels"
"""The arm whose labels have to be remembered."""


class Outcome(StrEnum):
    """What became of a cell on a tier, best first."""

    EMERGENT = "emergent"
    UNCONTROLLED = "emergent (uncontrolled)"
    DISCRIMINATING = "discriminating"
    PARTIAL = "partial"
    MASS_ONLY = "mass only"
    NONE = "none"
    OPTIMISATION_FAILURE = "optimisation failure"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Evidence:
    """The numbers that decide a cell's outcome on one tier, at the trained layer, over the templates that no training
    saw where there are some, else over all."""

    classes: int
    class_loss: float
    """Mean class loss of the last steps of training, nats."""
    choice: Interval
    """Choice accuracy, balanced over classes."""
    p: Interval
    """Mean probability of the right class token."""
    gain_stage1: Interval | None
    """Paired gain in p over stage 1; None where no finished reference exists."""
    gain_zero: Interval | None
    """Paired gain in p over w = 0; None where no finished w = 0 cell exists."""
    over_memory: Interval | None = None
    """Choice accuracy minus that of the cell beside it whose labels have to be remembered, on the same prompts; None
    where none was run at that layer, or it did not fit, and where no training saw the templates: there memory of them
    has nothing to go by, and the difference could not fail."""
    samples: int = 0
    templates: str = "unseen"
    """`unseen` by any training, or `seen`."""


def decide(evidence: Evidence, decisions: Decisions) -> tuple[Outcome, list[str]]:
    """Return the outcome and, in words, every criterion of `emergent` that was missed."""
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
        remembered = evidence.templates == "seen" and evidence.over_memory is None
        return Outcome.UNCONTROLLED if remembered else Outcome.EMERGENT
    if evidence.choice.low >= decisions.choice_accuracy and evidence.p.low < decisions.probability:
        return Outcome.DISCRIMINATING
    return Outcome.PARTIAL if evidence.choice.low > 1 / evidence.classes else Outcome.MASS_ONLY


def missed_criteria(evidence: Evidence, decisions: Decisions) -> list[str]:
    """Return every criterion of `emergent` that the evidence misses, in words with its figures."""
    missed = []
    if not evidence.class_loss < math.log(evidence.classes):
        limit = f"ln {evidence.classes} = {math.log(evidence.classes):.3f}"
        missed.append(f"class loss in training ended at {evidence.class_loss:.3f}, not below {limit}")
    if evidence.choice.low < decisions.choice_accuracy:
        bound = f"{100 * evidence.choice.low:.1f} % is below {share(decisions.choice_accuracy)}"
        missed.append(f"choice accuracy {share(evidence.choice)}: the lower bound {bound}")
    if evidence.p.low < decisions.probability:
        bound = f"{evidence.p.low:.3f} is below {probability(decisions.probability)}"
        missed.append(f"p {probability(evidence.p)}: the lower bound {bound}")
    for name, gain in (("stage 1", evidence.gain_stage1), ("w = 0", evidence.gain_zero)):
        if gain is None:
            missed.append(f"gain in p over {name} unknown: not finished")
        elif gain.low <= 0:
            missed.append(f"gain in p over {name} {signed_probability(gain)} does not exclude zero")
    if evidence.over_memory is not None and evidence.over_memory.low <= 0:
        points = signed_points(evidence.over_memory)
        missed.append(f"choice accuracy minus that of labels that are remembered, {points}, does not exclude zero")
    return missed


def judge(results: Results) -> pd.DataFrame:
    """Return a row for each finished cell with a class loss and tier: the numbers, the outcome and the criteria
    missed. Of plain cells on templates that were trained on, it is asked what the cell beside them does whose labels
    have to be remembered."""
    rows = []
    for cell in results.cells:
        if cell.finished:
            for tier, evidence in collect(results, cell).items():
                outcome, missed = decide(evidence, results.decisions)
                decided = {"outcome": outcome.value, "missed": "; ".join(missed)}
                rows.append(_row(cell, tier, evidence) | {"leakage": leakage(results, cell, tier)} | decided)
    return pd.DataFrame(rows, columns=JUDGED)


def leakage(results: Results, cell: StudyUnit, tier: str) -> float:
    """Return the mean summed probability of the class tokens at the model's own output, where they should not
    appear."""
    rows = results.lens_at(cell, "stage2", cell.readout, cell.blocks - 1)
    return float(np.exp(rows.loc[rows["tier"] == tier, "log_mass"]).mean())


def collect(results: Results, cell: StudyUnit) -> dict[str, Evidence]:
    """Return the evidence on a finished cell, by tier."""
    confidence = results.decisions.confidence
    loss, after = class_loss(results, cell), results.trained_by_sample(cell)
    reference, zero = results.reference_of(cell), results.zero_of(cell)
    before = results.lens_by_sample(reference, "stage1", cell.readout, cell.layer) if reference else None
    without = results.lens_by_sample(zero, "stage2", cell.readout, cell.layer) if zero else None
    memory = memory_of(results, cell) if cell.arm == "plain" else None
    found: dict[str, Evidence] = {}
    for tier in results.tiers:
        own, unseen = shown(after, tier)
        if own.empty:
            continue
        evidence = Evidence(
            classes=len(cell.operations),
            class_loss=loss,
            choice=level(values_of(own, "choice"), confidence),
            p=level(values_of(own, "p"), confidence),
            gain_stage1=_gain(own, before, "p", confidence),
            gain_zero=_gain(own, without, "p", confidence),
            samples=len(own),
            templates="unseen" if unseen else "seen",
        )
        if memory and not unseen:
            over = _gain(own, results.trained_by_sample(memory), "choice", confidence)
            evidence = replace(evidence, over_memory=over)
        found[tier] = evidence
    return found


def memory_of(results: Results, cell: StudyUnit) -> StudyUnit | None:
    """Return the cell that differs in labels that have to be remembered alone, at the same layer, and has fitted: of
    the same seed, or of the first that there is."""
    there = [one for seed in (cell.seed, *results.seeds) for one in results.partners(cell, arm=MEMORY, seed=seed)]
    return next((one for one in there if has_fitted(results, one)), None)


def _row(cell: StudyUnit, tier: str, evidence: Evidence) -> dict[str, object]:
    return {
        **place(cell),
        "label": cell.label,
        "arm": cell.arm,
        "wordings": "+".join(cell.wordings),
        "tier": tier,
        "transfer": tier not in cell.wordings,
        "templates": evidence.templates,
        "samples": evidence.samples,
        "class_loss": evidence.class_loss,
        **bounds("choice", evidence.choice),
        **bounds("p", evidence.p),
        **bounds("gain_stage1", evidence.gain_stage1),
        **bounds("gain_zero", evidence.gain_zero),
        **bounds("over_memory", evidence.over_memory),
    }


def _gain(own: pd.DataFrame, other: pd.DataFrame | None, column: str, confidence: float) -> Interval | None:
    """Return the paired difference of a column, sample by sample; None where there is nothing to compare with."""
    if other is None:
        return None
    gain = (own[column] - other[column].reindex(own.index)).dropna()
    return effect(gain.to_numpy(float)[:, None], confidence) if len(gain) else None


JUDGED = [
    *(*PLACE, "label", "arm", "wordings", "tier", "transfer", "templates", "samples", "class_loss"),
    *(f"{name}{end}" for name in ("choice", "p", "gain_stage1", "gain_zero") for end in ("", "_low", "_high")),
    *("over_memory", "over_memory_low", "over_memory_high", "leakage", "outcome", "missed"),
]
"""Columns of `judge`, there even when nothing is finished."""
