"""Contrasts between cells that differ in one thing (controls, costs, manipulations), and the pairs of cells of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from analysis.data.results import Results, StudyUnit
from analysis.data.samples import of_tier
from analysis.outcomes.fit import has_fitted
from study.config.arms import ARMS, arms_that_are, words_of
from study.config.names import NOBODY
from study.config.units import CHAT

Column = Literal["choice", "order", "right"]
Templates = Literal["unseen", "labelled", "all"]
"""Those that no training saw; those that stage 2 trained on, with class labels; or all."""

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
    others = [w for w in dict.fromkeys(one.wordings for one in results.plain) if set(w) > set(cell.wordings)]
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


def pairs_of(results: Results, contrast: Contrast) -> Iterator[tuple[StudyUnit, StudyUnit]]:
    """Yield each plain cell that has fitted with its partner, where it has one."""
    for cell in results.plain:
        if cell.finished and has_fitted(results, cell) and (partner := contrast.partner(results, cell)):
            yield cell, partner


def paired_values(results: Results, contrast: Contrast, cell: StudyUnit, partner: StudyUnit, tier: str) -> pd.DataFrame:
    """Return the values of a cell (`own`) and its partner (`beside`) by sample, of samples that both have."""
    if contrast.column == "right":
        own, beside = (
            results.answers_by_sample(unit, stage) for unit, stage in ((cell, "stage2"), (partner, contrast.stage))
        )
    else:
        own, beside = results.trained_by_sample(cell), read_beside(results, cell, partner)
    columns = {name: _chosen(one, contrast, tier) for name, one in (("own", own), ("beside", beside))}
    return pd.concat(columns, axis=1, join="inner")


def read_beside(results: Results, cell: StudyUnit, partner: StudyUnit) -> pd.DataFrame:
    """Return the read-outs of a partner by sample: at its own layer, or where it has none (w = 0) as the cell reads."""
    if partner.layer is None:
        return results.lens_by_sample(partner, "stage2", cell.readout, cell.layer)
    return results.trained_by_sample(partner)


def _chosen(samples: pd.DataFrame, contrast: Contrast, tier: str) -> "pd.Series[float]":
    here = of_tier(samples, tier)
    if contrast.templates == "unseen":
        here = here[here["seen"] == NOBODY]
    elif contrast.templates == "labelled":
        here = here[here["seen"].str.contains("stage2")]
    return here[contrast.column].droplevel("tier").dropna()
