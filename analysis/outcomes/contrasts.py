"""Contrasts between cells that differ in one thing, paired by template and seed: controls, costs and manipulations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from analysis.data.results import Results, StudyUnit, place
from analysis.data.samples import NOBODY, of_tier
from analysis.outcomes.fit import has_fitted
from analysis.statistics.effects import effect
from analysis.statistics.equivalence import Verdict as Judgement
from analysis.statistics.equivalence import equivalent, not_inferior
from analysis.statistics.intervals import Interval, bounds
from study.config.arms import ARMS, arms_that_are, words_of
from study.config.study import Decisions

Column = Literal["choice", "right"]
Templates = Literal["unseen", "seen", "all"]
FLOOR = "at floor: cannot show"
"""The verdict on a cost where too few answers were right before."""
KEYS = ["contrast", "measure", "model", "pair", "weight", "wordings", "tier", "templates"]
DIFFERENCES = [
    *("contrast", "measure", "unit", "beside", "model", "pair", "weight", "wordings", "layer", "depth", "seed"),
    *("tier", "templates", "samples", "value", "value_beside", "difference", "difference_low", "difference_high"),
]
EFFECTS = [
    *(*KEYS, "depth", "depths", "seeds", "samples", "value", "value_beside"),
    *("difference", "difference_low", "difference_high", "lowest_seed", "highest_seed", "verdict"),
]


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
    margin: bool = False
    """Whether it is a cost, which is held against the margin of non-inferiority."""
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
    return _other(results, cell, model=f"{cell.model} (chat)")


def _wordings(results: Results, cell: StudyUnit) -> StudyUnit | None:
    others = [w for w in dict.fromkeys(one.wordings for one in results.plain) if set(w) > set(cell.wordings)]
    return _other(results, cell, wordings=others[0]) if others else None


CONTRASTS: list[Contrast] = [
    Contrast("cost against w = 0", "answers, minus those of w = 0", "right", "all", _zero, margin=True),
    Contrast("cost against stage 1", "answers, minus those after stage 1", "right", "all", _reference, True, "stage1"),
    *(
        Contrast(f"names against {arm}", f"names minus {words_of(arm)}", "choice", "unseen", partial(_other, arm=arm))
        for arm in arms_that_are("control")
        if not ARMS[arm].shuffled_labels
    ),
    *(
        Contrast(
            f"names against {arm}",
            f"names minus {words_of(arm)}, where these can be remembered",
            "choice",
            "seen",
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


def differences(results: Results) -> pd.DataFrame:
    """Return a row for each contrast, plain cell with a partner, and tier: the difference over templates, for that
    seed."""
    rows = []
    for contrast in CONTRASTS:
        for cell, partner in _pairs(results, contrast):
            for tier in _tiers(results, contrast):
                values = _paired(results, contrast, cell, partner, tier)
                if values.empty:
                    continue
                found = effect(
                    (values["own"] - values["beside"]).to_numpy(float)[:, None], results.decisions.confidence
                )
                rows.append(
                    {
                        "contrast": contrast.name,
                        "measure": contrast.column,
                        **place(cell),
                        "beside": partner.id,
                        "wordings": "+".join(cell.wordings),
                        "tier": tier,
                        "templates": contrast.templates,
                        "samples": len(values),
                        "value": values["own"].mean(),
                        "value_beside": values["beside"].mean(),
                        **bounds("difference", found),
                    }
                )
    return pd.DataFrame(rows, columns=DIFFERENCES)


def effects(results: Results) -> pd.DataFrame:
    """Return a row for each contrast, model, pair, weight, wordings and tier: over all depths, then at each depth.

    The differences of a template and seed are averaged over depths, then over templates and seeds, which the interval
    is over; `lowest_seed` and `highest_seed` are the range of the seeds. The verdict is `above` or `below` where the
    interval excludes zero, `none` where it lies within the margin of non-inferiority on both sides (TOST), else
    `undecided`; of costs `preserved`, `hurt` (the interval lies below zero), `undecided`, or FLOOR.
    """
    rows = []
    for contrast in CONTRASTS:
        groups: dict[tuple[object, ...], list[tuple[StudyUnit, StudyUnit]]] = {}
        for cell, partner in _pairs(results, contrast):
            groups.setdefault((cell.model, cell.pair, cell.weight, "+".join(cell.wordings)), []).append((cell, partner))
        for key, pairs in groups.items():
            for tier in _tiers(results, contrast):
                about = dict(zip(KEYS, (contrast.name, contrast.column, *key, tier, contrast.templates), strict=True))
                depths = sorted({cell.depth for cell, _ in pairs})
                for depth in [np.nan, *depths]:
                    here = [pair for pair in pairs if depth != depth or pair[0].depth == depth]
                    if row := _effect(results, contrast, here, tier):
                        rows.append({**about, "depth": depth, **row})
    return pd.DataFrame(rows, columns=EFFECTS)


def overall(found: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Return the rows of a contrast over all depths."""
    return found[(found["contrast"] == contrast) & found["depth"].isna()]


def _pairs(results: Results, contrast: Contrast) -> Iterator[tuple[StudyUnit, StudyUnit]]:
    for cell in results.plain:
        if cell.finished and has_fitted(results, cell) and (partner := contrast.partner(results, cell)):
            yield cell, partner


def _tiers(results: Results, contrast: Contrast) -> Sequence[str]:
    return results.judged_tiers if contrast.margin else results.tiers


def _paired(results: Results, contrast: Contrast, cell: StudyUnit, partner: StudyUnit, tier: str) -> pd.DataFrame:
    """Return the values of a cell (`own`) and its partner (`beside`) by sample, of samples that both have."""
    if contrast.column == "right":
        own, beside = (
            results.answers_by_sample(unit, stage) for unit, stage in ((cell, "stage2"), (partner, contrast.stage))
        )
    else:
        own, beside = (results.trained_by_sample(unit) for unit in (cell, partner))
    columns = {name: _chosen(one, contrast, tier) for name, one in (("own", own), ("beside", beside))}
    return pd.concat(columns, axis=1, join="inner")


def _chosen(samples: pd.DataFrame, contrast: Contrast, tier: str) -> "pd.Series[float]":
    here = of_tier(samples, tier)
    if contrast.templates != "all":
        here = here[(here["seen"] == NOBODY) == (contrast.templates == "unseen")]
    return here[contrast.column].droplevel("tier")


def _effect(
    results: Results, contrast: Contrast, pairs: Sequence[tuple[StudyUnit, StudyUnit]], tier: str
) -> dict[str, object] | None:
    by_seed: dict[int, list[pd.DataFrame]] = {}
    for cell, partner in pairs:
        values = _paired(results, contrast, cell, partner, tier)
        if not values.empty:
            by_seed.setdefault(cell.seed, []).append(values)
    if not by_seed:
        return None
    means = {seed: sum(frames[1:], frames[0]) / len(frames) for seed, frames in by_seed.items()}
    table = pd.concat({seed: frame["own"] - frame["beside"] for seed, frame in means.items()}, axis=1).to_numpy(float)
    found = effect(table, results.decisions.confidence)
    of_seeds = np.nanmean(table, axis=0)
    before = float(np.mean([frame["beside"].mean() for frame in means.values()]))
    return {
        "depths": len({cell.depth for cell, _ in pairs}),
        "seeds": len(means),
        "samples": len(table),
        "value": np.mean([frame["own"].mean() for frame in means.values()]),
        "value_beside": before,
        **bounds("difference", found),
        "lowest_seed": of_seeds.min(),
        "highest_seed": of_seeds.max(),
        "verdict": _verdict(contrast, partial(effect, table), found, before, results.decisions),
    }


def _verdict(
    contrast: Contrast, procedure: Callable[[float], Interval], found: Interval, before: float, decisions: Decisions
) -> str:
    margin, alpha = decisions.non_inferiority_margin, 1 - decisions.confidence
    if contrast.margin:
        if before < decisions.floor:
            return FLOOR
        if not_inferior(procedure, margin, alpha / 2) == Judgement.SHOWN:
            return "preserved"
        return "hurt" if found.high < 0 else "undecided"
    if found.low > 0 or found.high < 0:
        return "above" if found.low > 0 else "below"
    return "none" if equivalent(procedure, margin, alpha) == Judgement.SHOWN else "undecided"
