"""The effects of contrasts, paired by template: of a pair of cells, over seeds and depths, and over models."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis.data.results import Results, StudyUnit, place
from analysis.outcomes.contrasts import CONTRASTS, Contrast, paired_values, pairs_of
from analysis.statistics.effects import effect
from analysis.statistics.equivalence import Verdict as Judgement
from analysis.statistics.equivalence import equivalent, not_inferior
from analysis.statistics.intervals import Floats, Interval, bounds
from analysis.statistics.pooling import wild_cluster_p
from study.config.study import Decisions
from study.config.units import CHAT

UNDECIDED = "undecided"
FLOOR = "at floor: cannot show"
"""The verdict on a cost where too few answers were right before."""
CEILING = "at ceiling: cannot show"
"""The verdict on a difference of two accuracies of at least AT_CEILING, where it does not exclude zero."""
AT_CEILING = 0.99
KEYS = ["contrast", "measure", "model", "pair", "weight", "wordings", "tier", "templates"]
DIFFERENCES = [
    *("contrast", "measure", "unit", "beside", "model", "pair", "weight", "wordings", "layer", "depth", "seed"),
    *("tier", "templates", "samples", "value", "value_beside", "difference", "difference_low", "difference_high"),
]
EFFECTS = [
    *(*KEYS, "depth", "depths", "seeds", "samples", "value", "value_beside"),
    *("difference", "difference_low", "difference_high", "lowest_seed", "highest_seed", "verdict"),
]
POOLED = [
    *("contrast", "measure", "pair", "weight", "wordings", "tier", "templates", "models", "samples"),
    *("difference", "difference_low", "difference_high", "lowest_model", "highest_model", "p_models"),
]
FEWEST_MODELS = 3
"""With fewer models nothing is said of them together."""


def differences(results: Results) -> pd.DataFrame:
    """Return a row for each contrast, plain cell with a partner, and tier: the difference over templates, for that
    seed."""
    rows = []
    for contrast in CONTRASTS:
        for cell, partner in pairs_of(results, contrast):
            for tier in results.tiers:
                values = paired_values(results, contrast, cell, partner, tier)
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
    interval excludes zero, CEILING where both are nearly always right, `none` where it lies within the margin of
    non-inferiority on both sides (TOST), else `undecided`; of costs `preserved`, `hurt` (the interval lies below zero),
    `undecided`, or FLOOR.
    """
    rows = []
    for contrast in CONTRASTS:
        groups: dict[tuple[object, ...], list[tuple[StudyUnit, StudyUnit]]] = {}
        for cell, partner in pairs_of(results, contrast):
            groups.setdefault((cell.model, cell.pair, cell.weight, "+".join(cell.wordings)), []).append((cell, partner))
        for key, pairs in groups.items():
            for tier in results.tiers:
                about = dict(zip(KEYS, (contrast.name, contrast.column, *key, tier, contrast.templates), strict=True))
                depths = sorted({cell.depth for cell, _ in pairs})
                for depth in [np.nan, *depths]:
                    here = [pair for pair in pairs if depth != depth or pair[0].depth == depth]
                    if row := _effect(results, contrast, here, tier):
                        rows.append({**about, "depth": depth, **row})
    return pd.DataFrame(rows, columns=EFFECTS)


def pooled(results: Results) -> pd.DataFrame:
    """Return a row for each contrast, pair, weight, wordings and tier, over all models where there are at least three.

    The differences of a template and model are averaged over depths and seeds, then over templates and models, each a
    sample, which the interval is over. `p_models` is that of the wild cluster bootstrap over models alone.
    """
    rows = []
    for contrast in CONTRASTS:
        groups: dict[tuple[object, ...], dict[str, list[tuple[StudyUnit, StudyUnit]]]] = {}
        for cell, partner in pairs_of(results, contrast):
            if cell.model.endswith(CHAT):  # which is no further model
                continue
            key = (cell.pair, cell.weight, "+".join(cell.wordings))
            groups.setdefault(key, {}).setdefault(cell.model, []).append((cell, partner))
        for about, models in groups.items():
            for tier in results.tiers if len(models) >= FEWEST_MODELS else ():
                means = {model: _mean_difference(results, contrast, pairs, tier) for model, pairs in models.items()}
                there = {model: mean for model, mean in means.items() if len(mean)}
                if len(there) >= FEWEST_MODELS:
                    table = pd.concat(there, axis=1).to_numpy(float)
                    named = (contrast.name, contrast.column, *about, tier, contrast.templates)
                    rows.append([*named, *_pooled(table, results.decisions.confidence)])
    return pd.DataFrame(rows, columns=POOLED)


def _mean_difference(
    results: Results, contrast: Contrast, pairs: Sequence[tuple[StudyUnit, StudyUnit]], tier: str
) -> "pd.Series[float]":
    """The mean difference over cells, by sample; empty where there is none."""
    frames = [paired_values(results, contrast, cell, partner, tier) for cell, partner in pairs]
    columns = [frame["own"] - frame["beside"] for frame in frames if len(frame)]
    return pd.concat(columns, axis=1).mean(axis=1) if columns else pd.Series(dtype=float)


def _pooled(table: Floats, confidence: float) -> list[float]:
    found, of_models = effect(table, confidence), np.nanmean(table, axis=0)
    p = wild_cluster_p(of_models, np.arange(len(of_models)))
    return [table.shape[1], len(table), *found, of_models.min(), of_models.max(), p]


def overall(found: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Return the rows of a contrast over all depths."""
    return found[(found["contrast"] == contrast) & found["depth"].isna()]


def _effect(
    results: Results, contrast: Contrast, pairs: Sequence[tuple[StudyUnit, StudyUnit]], tier: str
) -> dict[str, object] | None:
    by_seed: dict[int, list[pd.DataFrame]] = {}
    for cell, partner in pairs:
        values = paired_values(results, contrast, cell, partner, tier)
        if not values.empty:
            by_seed.setdefault(cell.seed, []).append(values)
    if not by_seed:
        return None
    means = {seed: sum(frames[1:], frames[0]) / len(frames) for seed, frames in by_seed.items()}
    table = pd.concat({seed: frame["own"] - frame["beside"] for seed, frame in means.items()}, axis=1).to_numpy(float)
    found = effect(table, results.decisions.confidence)
    of_seeds = np.nanmean(table, axis=0)
    before = float(np.mean([frame["beside"].mean() for frame in means.values()]))
    value = float(np.mean([frame["own"].mean() for frame in means.values()]))
    return {
        "depths": len({cell.depth for cell, _ in pairs}),
        "seeds": len(means),
        "samples": len(table),
        "value": value,
        "value_beside": before,
        **bounds("difference", found),
        "lowest_seed": of_seeds.min(),
        "highest_seed": of_seeds.max(),
        "verdict": _verdict(contrast, partial(effect, table), found, (value, before), results.decisions),
    }


def _verdict(
    contrast: Contrast,
    procedure: Callable[[float], Interval],
    found: Interval,
    values: tuple[float, float],
    decisions: Decisions,
) -> str:
    margin, alpha = decisions.non_inferiority_margin, 1 - decisions.confidence
    if contrast.asks == "cost":
        if values[1] < decisions.floor:
            return FLOOR
        if not_inferior(procedure, margin, alpha / 2) == Judgement.SHOWN:
            return "preserved"
        return "hurt" if found.high < 0 else UNDECIDED
    if found.low > 0 or found.high < 0:
        return "above" if found.low > 0 else "below"
    if min(values) >= AT_CEILING:
        return CEILING
    return "none" if equivalent(procedure, margin, alpha) == Judgement.SHOWN else UNDECIDED
