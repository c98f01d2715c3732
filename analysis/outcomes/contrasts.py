"""Contrasts between cells that differ in one thing (controls, costs, manipulations), and the pairs of cells of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from analysis.data.results import Results
from analysis.data.samples import Key, Templates
from analysis.data.terms import ARITHMETIC
from analysis.data.units import StudyUnit
from analysis.outcomes.fit import has_fitted
from analysis.statistics.intervals import Floats
from study.config.arms import ARMS, arms_that_are, words_of
from study.config.units import CHAT

Column = Literal["choice", "order", "right"]
Asks = Literal["cost", "gain", "control"]
"""What a contrast is about: the answers that a class loss costs, what it brings, or what a change in a cell does."""


@dataclass(frozen=True)
class Contrast:
    """A difference between two cells, of which the second differs from the first in one thing."""

    name: str
    words: str
    """What is subtracted from what."""
    column: Column
    templates: Templates
    partner: Callable[[Results, StudyUnit], StudyUnit | None]
    """The finished unit beside a plain cell."""
    asks: Asks = "control"
    """A cost is held against the margin of non-inferiority."""
    stage: str = "stage2"
    """The stage of the second unit."""


def _other(results: Results, cell: StudyUnit, **changed: object) -> StudyUnit | None:
    found = [one for one in results.partners(cell, **changed) if has_fitted(results, one)]
    return found[0] if found else None


def _zero(results: Results, cell: StudyUnit) -> StudyUnit | None:
    return results.zero_of(cell)


def _reference(results: Results, cell: StudyUnit) -> StudyUnit | None:
    return results.reference_of(cell)


def _chat(results: Results, cell: StudyUnit) -> StudyUnit | None:
    return _other(results, cell, model=cell.model + CHAT)


def _wordings(results: Results, cell: StudyUnit) -> StudyUnit | None:
    others = [wordings for wordings in results.wordings if set(wordings) > set(cell.wordings)]
    return _other(results, cell, wordings=others[0]) if others else None


NAMES: list[tuple[str, str, Column]] = [("names", "names", "choice"), ("order of names", "order, names", "order")]

CONTRASTS: list[Contrast] = [
    Contrast("cost against w = 0", "answers minus those of w = 0", "right", "all", _zero, "cost"),
    Contrast("cost against stage 1", "answers minus those after stage 1", "right", "all", _reference, "cost", "stage1"),
    Contrast("class loss against w = 0", "with the class loss minus w = 0", "choice", "unseen", _zero, "gain"),
    Contrast(
        "order with class loss against w = 0",
        "order, with the class loss minus w = 0",
        "order",
        "unseen",
        _zero,
        "gain",
    ),
    *(
        Contrast(f"{told} against {arm}", f"{words} minus {words_of(arm)}", column, "unseen", partial(_other, arm=arm))
        for arm in arms_that_are("control")
        if not ARMS[arm].shuffled_labels
        for told, words, column in NAMES
    ),
    *(
        Contrast(
            f"names against {arm}",
            f"names minus {words_of(arm)}, where these can be remembered",
            "choice",
            "labelled",
            partial(_other, arm=arm),
        )
        for arm in arms_that_are("control")
        if ARMS[arm].shuffled_labels
    ),
    *(
        Contrast(f"plain against {arm}", f"plain minus {words_of(arm)}", "choice", "unseen", partial(_other, arm=arm))
        for arm in arms_that_are("manipulation")
    ),
    *(
        Contrast(
            f"answers of plain against {arm}",
            f"answers of plain minus {words_of(arm)}",
            "right",
            "all",
            partial(_other, arm=arm),
        )
        for arm in arms_that_are("manipulation")
    ),
    Contrast("one wording against more", "one trained wording minus more", "choice", "unseen", _wordings),
    Contrast("plain prompts against chat", "plain prompts minus chat", "choice", "unseen", _chat),
    Contrast("answers of plain prompts against chat", "answers of plain prompts minus chat", "right", "all", _chat),
]
"""Every contrast of the report, in its order."""


def words_of_contrasts(results: Results) -> dict[str, str]:
    """Return what each contrast subtracts from what, by name, in the words of the study's task."""
    return {one.name: one.words.replace(ARITHMETIC.zero, results.terms.zero) for one in CONTRASTS}


Pairs = Sequence[tuple[StudyUnit, StudyUnit]]


def pairs_of(results: Results, contrast: Contrast) -> Pairs:
    """Return each plain cell that has fitted with its partner, where it has one."""
    if contrast.column == "right" and not results.has_answers:
        return []
    key = ("pairs", contrast.name)
    if key not in results.known:
        fitted = [cell for cell in results.plain if cell.finished and has_fitted(results, cell)]
        results.known[key] = [(cell, other) for cell in fitted if (other := contrast.partner(results, cell))]
    pairs: Pairs = results.known[key]
    return pairs


def paired_values(results: Results, contrast: Contrast, pairs: Pairs, tier: str) -> tuple[Floats, Floats]:
    """Return the values [pairs, samples] of cells and of their partners; NaN in both where one lacks the sample."""
    answers = contrast.column == "right"
    samples = (results.answered if answers else results.readouts)[tier]
    keys: list[tuple[Key, Key]]
    if answers:
        keys = [((cell.id, "stage2"), (partner.id, contrast.stage)) for cell, partner in pairs]
    else:
        keys = [(cell.trained, _read_beside(results, cell, partner)) for cell, partner in pairs]
    sides = [samples.rows(side) for side in zip(*keys, strict=True)]
    own, beside = (samples.figures(contrast.column, rows, samples.of(rows, contrast.templates)) for rows in sides)
    lacking = np.isnan(own) | np.isnan(beside)
    return np.where(lacking, np.nan, own), np.where(lacking, np.nan, beside)


def _read_beside(results: Results, cell: StudyUnit, partner: StudyUnit) -> Key:
    """Of the read-outs of a partner: at its own layer, or where it has none (w = 0) as the cell reads."""
    if partner.layer is not None:
        return partner.trained
    return partner.id, results.zero_stage, cell.readout, cell.layer
