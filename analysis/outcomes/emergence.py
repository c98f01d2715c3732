"""What counts as emergence: the study's definitions, applied to its rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat

import numpy as np
import pandas as pd

from analysis.data.numbers import probability, share, signed_points, signed_probability
from analysis.data.results import Results
from analysis.data.samples import Key
from analysis.data.terms import ARITHMETIC
from analysis.data.units import PLACE, StudyUnit, place
from analysis.outcomes.fit import class_loss, has_fitted
from analysis.statistics.effects import effects
from analysis.statistics.intervals import Floats, Interval, bounds, levels
from study.config.evaluation import Decisions

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
    """Paired gain in p over the model before, which is that after stage 1; None where no finished reference exists."""
    gain_zero: Interval | None
    """Paired gain in p over w = 0; None where no finished w = 0 cell exists."""
    before: str = "stage 1"
    """What the model before is. Where it is the model as it came, w = 0 is the same."""
    over_memory: Interval | None = None
    """Choice accuracy minus that of the cell beside it whose labels have to be remembered, on the same prompts; None
    where none was run at that layer, or it did not fit, and where no training saw the templates: there memory of them
    has nothing to go by, and the difference could not fail."""
    p_above_chance: float = 0.0
    """Of the choice accuracy, corrected for all plain cells of the tier; NaN in other arms, whose interval decides
    alone."""
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
    by_itself = evidence.choice.low > 1 / evidence.classes
    among_all = not evidence.p_above_chance > 1 - decisions.confidence  # NaN is of no family
    return Outcome.PARTIAL if by_itself and among_all else Outcome.MASS_ONLY


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
    gains = {evidence.before: evidence.gain_stage1}
    if evidence.before == ARITHMETIC.before:
        gains["w = 0"] = evidence.gain_zero
    for name, gain in gains.items():
        if gain is None:
            missed.append(f"gain in p over {name} unknown: not finished")
        elif gain.low <= 0:
            missed.append(f"gain in p over {name} {signed_probability(gain)} does not exclude zero")
    if evidence.over_memory is not None and evidence.over_memory.low <= 0:
        points = signed_points(evidence.over_memory)
        missed.append(f"choice accuracy minus that of labels that are remembered, {points}, does not exclude zero")
    return missed


def judge(results: Results, found: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each finished cell with a class loss and tier: the numbers, the outcome and the criteria
    missed. `found` are the study's `levels`, which have what is corrected for all cells of a tier.

    Of plain cells on templates that were trained on, it is asked what the cell beside them does whose labels have to be
    remembered.
    """
    cells = [cell for cell in results.cells if cell.finished]
    if not cells or not results.readouts:
        return pd.DataFrame(columns=JUDGED)
    leaked = leakages(results, cells)
    columns = ("unit", "tier", "templates", "p_above_chance")
    above = {(unit, tier, kind): p for unit, tier, kind, p in zip(*(found[name] for name in columns), strict=True)}
    parts = [_judged(results, cells, leaked, above, tier) for tier in results.readouts]
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)


def _judged(
    results: Results,
    cells: Sequence[StudyUnit],
    leaked: "pd.Series[float]",
    above: Mapping[tuple[str, str, str], float],
    tier: str,
) -> pd.DataFrame:
    """The rows of one tier, by the number of the cell."""
    found = collect(results, cells, above, tier)
    at_tier = leaked[leaked.index.get_level_values("tier") == tier].droplevel("tier").to_dict()
    rows = {}
    for number, evidence in found.items():
        outcome, missed = decide(evidence, results.decisions)
        decided = {
            "leakage": at_tier.get(cells[number].id, math.nan),
            "outcome": outcome.value,
            "missed": "; ".join(missed),
        }
        rows[number] = _row(cells[number], tier, evidence) | decided
    return pd.DataFrame(list(rows.values()), list(rows), JUDGED)


def leakages(results: Results, cells: Sequence[StudyUnit]) -> "pd.Series[float]":
    """Return the mean summed probability of the class tokens at the model's own output, where they should not appear,
    by cell and tier."""
    blocks, readouts = ({cell.id: getattr(cell, name) for cell in cells} for name in ("blocks", "readout"))
    parts: list[pd.Series[float]] = []
    for lens in results.rows["lens"].chunks():
        units = lens["unit"].cat.categories
        last, own = (units.map(of).to_numpy()[lens["unit"].cat.codes] for of in (blocks, readouts))
        rows = lens[(lens["layer"] == last - 1) & (lens["pair"].astype(object) == own) & (lens["stage"] == "stage2")]
        parts.append(np.exp(rows["log_mass"]).groupby([rows["unit"], rows["tier"]], observed=True).mean())
    return pd.concat(parts)


def collect(
    results: Results, cells: Sequence[StudyUnit], above: Mapping[tuple[str, str, str], float], tier: str
) -> dict[int, Evidence]:
    """Return the evidence on finished cells on one tier, by the number of the cell; none of those without rows. `above`
    is p_above_chance by unit, tier and kind of templates."""
    samples, confidence = results.readouts[tier], results.decisions.confidence
    rows = samples.rows(cell.trained for cell in cells)
    own, unseen = samples.shown(rows)
    choice, p = (samples.figures(name, rows, own) for name in ("choice", "p"))

    def gains(values: Floats, name: str, beside: Iterable[Key]) -> Floats:
        others = samples.rows(beside)
        gained = values - samples.figures(name, others, samples.of(others))
        return effects(gained[:, :, None], confidence)

    references, zeros = ([of(cell) for cell in cells] for of in (results.reference_of, results.zero_of))
    memories = [memory_of(results, cell) if cell.arm == "plain" else None for cell in cells]
    choices, probabilities = levels(choice, confidence), levels(p, confidence)
    gained = {
        "gain_stage1": gains(p, "p", map(_key_beside, cells, references, repeat(results.before_stage))),
        "gain_zero": gains(p, "p", map(_key_beside, cells, zeros, repeat(results.zero_stage))),
        "over_memory": gains(choice, "choice", (memory.trained if memory else () for memory in memories)),
    }
    gained["over_memory"][unseen] = np.nan
    counts, kinds = own.sum(axis=1), np.where(unseen, "unseen", "seen").tolist()
    return {
        number: Evidence(
            classes=len(cell.operations),
            class_loss=class_loss(results, cell),
            choice=Interval(*choices[number].tolist()),
            p=Interval(*probabilities[number].tolist()),
            **{name: _interval(of[number]) for name, of in gained.items()},
            before=results.terms.before,
            p_above_chance=above[cell.id, tier, kinds[number]],
            samples=int(counts[number]),
            templates=kinds[number],
        )
        for number, cell in enumerate(cells)
        if counts[number]
    }


def _key_beside(cell: StudyUnit, unit: StudyUnit | None, stage: str) -> Key:
    """Of the read-outs of a unit that are as those of a cell; of nothing where there is no such unit."""
    return (unit.id, stage, cell.readout, cell.layer) if unit else ()


def _interval(found: Floats) -> Interval | None:
    """None where there was nothing to compare with."""
    return None if np.isnan(found[0]) else Interval(*found.tolist())


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
        "p_above_chance": evidence.p_above_chance,
        **bounds("p", evidence.p),
        **bounds("gain_stage1", evidence.gain_stage1),
        **bounds("gain_zero", evidence.gain_zero),
        **bounds("over_memory", evidence.over_memory),
    }


JUDGED = [
    *(*PLACE, "label", "arm", "wordings", "tier", "transfer", "templates", "samples", "class_loss"),
    *("choice", "choice_low", "choice_high", "p_above_chance"),
    *(f"{name}{end}" for name in ("p", "gain_stage1", "gain_zero") for end in ("", "_low", "_high")),
    *("over_memory", "over_memory_low", "over_memory_high", "leakage", "outcome", "missed"),
]
"""Columns of `judge`, there even when nothing is finished."""
