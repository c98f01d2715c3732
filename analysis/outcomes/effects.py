"""The effects of contrasts, paired by template: of a pair of cells, over seeds and depths, and over models."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.samples import has_any, mean_of_rows
from analysis.data.units import StudyUnit, place
from analysis.outcomes.contrasts import CONTRASTS, Contrast, Pairs, paired_values, pairs_of
from analysis.statistics.effects import effect
from analysis.statistics.effects import effects as effect_of_cells
from analysis.statistics.equivalence import Verdict as Judgement
from analysis.statistics.equivalence import equivalent, not_inferior
from analysis.statistics.intervals import Floats, Interval, columns, interval_of
from analysis.statistics.pooling import wild_cluster_p
from study.config.evaluation import Decisions
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
    parts = [pd.DataFrame(columns=DIFFERENCES)]
    for contrast in CONTRASTS:
        if not (pairs := pairs_of(results, contrast)):
            continue
        about = pd.DataFrame([_about(cell, partner) for cell, partner in pairs])
        told = {"contrast": contrast.name, "measure": contrast.column, "templates": contrast.templates}
        tiers = [_differences(results, contrast, pairs, tier).assign(tier=tier) for tier in _tiers(results, contrast)]
        found = pd.concat(tiers).sort_index(kind="stable") if tiers else parts[0]
        parts.append(found.join(about).assign(**told))
    return pd.concat(parts[1:] or parts, ignore_index=True)[DIFFERENCES]


def _about(cell: StudyUnit, partner: StudyUnit) -> dict[str, object]:
    return {**place(cell), "beside": partner.id, "wordings": "+".join(cell.wordings)}


def _tiers(results: Results, contrast: Contrast) -> list[str]:
    return list(results.answered if contrast.column == "right" else results.readouts)


def _differences(results: Results, contrast: Contrast, pairs: Pairs, tier: str) -> pd.DataFrame:
    """The differences of the pairs that share samples, by the number of the pair."""
    own, beside = paired_values(results, contrast, pairs, tier)
    samples = (~np.isnan(own)).sum(axis=1)
    kept = np.flatnonzero(samples)
    own, beside = own[kept], beside[kept]
    found = {"samples": samples[kept], "value": mean_of_rows(own), "value_beside": mean_of_rows(beside)}
    intervals = effect_of_cells((own - beside)[:, :, None], results.decisions.confidence)
    return pd.DataFrame(found | columns("difference", intervals), index=kept)


def effects(results: Results) -> pd.DataFrame:
    """Return a row for each contrast, model, pair, weight, wordings and tier: over all depths, then at each depth.

    The differences of a template and seed are averaged over depths, then over templates and seeds, which the interval
    is over; `lowest_seed` and `highest_seed` are the range of the seeds. The verdict is `above` or `below` where the
    interval excludes zero, CEILING where both are nearly always right, `none` where it lies within the margin of
    non-inferiority on both sides (TOST), else `undecided`; of costs `preserved`, `hurt` (the interval lies below zero),
    `undecided`, or FLOOR.
    """
    parts = [pd.DataFrame(columns=EFFECTS)]
    for contrast in CONTRASTS:
        if pairs := pairs_of(results, contrast):
            series = _series(pairs)
            tiers = [_effects(results, contrast, pairs, series, tier) for tier in _tiers(results, contrast)]
            if found := [effects_of for effects_of in tiers if len(effects_of)]:
                parts.append(pd.concat(found).sort_values("series", kind="stable"))  # then tier and depth, as found
    return pd.concat(parts[1:] or parts, ignore_index=True)[EFFECTS]


Series = dict[tuple[object, ...], list[int]]
"""The numbers of the pairs of cells that differ in depth and seed alone."""
Place = tuple[float, int]
"""Relative depth and seed of a pair of cells."""


def _series(pairs: Pairs) -> Series:
    found: Series = {}
    for number, (cell, _) in enumerate(pairs):
        found.setdefault((cell.model, cell.pair, cell.weight, "+".join(cell.wordings)), []).append(number)
    return found


def _effects(results: Results, contrast: Contrast, pairs: Pairs, series: Series, tier: str) -> pd.DataFrame:
    """The effects on one tier, with the number of the series."""
    own, beside = paired_values(results, contrast, pairs, tier)
    places = [(cell.depth, cell.seed) for cell, _ in pairs]
    rows, tables = paired_effects(own, beside, places, series)
    rows = rows.assign(**columns("difference", effect_of_cells(tables, results.decisions.confidence)))
    keys = pd.DataFrame(list(series), columns=["model", "pair", "weight", "wordings"]).iloc[rows["series"]]
    about = {"contrast": contrast.name, "measure": contrast.column, "tier": tier, "templates": contrast.templates}
    told = zip(rows.to_dict("records"), tables, strict=True)
    verdicts = [
        _verdict(contrast, interval_of(row, "difference"), row, table, results.decisions) for row, table in told
    ]
    return rows.join(keys.reset_index(drop=True)).assign(**about, verdict=verdicts)


def paired_effects(own: Floats, beside: Floats, places: Sequence[Place], series: Series) -> tuple[pd.DataFrame, Floats]:
    """Return a row for each series over all depths and at each, and the table [samples, seeds] of its differences.

    `own` and `beside` [pairs, samples] are the values of both sides of each pair, NaN in both where one lacks the
    sample. A row has the number of its `series`; `depth` is NaN over all depths. Places without a value have no row.
    """
    own, beside = (_by_place(values, places, series) for values in (own, beside))
    depths = [sorted({places[member][0] for member in members}) for members in series.values()]
    of_seeds = mean_of_rows(own.reshape(-1, own.shape[-1])).reshape(own.shape[:-1])
    kept = np.argwhere(~np.isnan(of_seeds).all(axis=2))
    own, beside = own[tuple(kept.T)], beside[tuple(kept.T)]
    value, value_beside, differences = (_means(values) for values in (own, beside, own - beside))
    tables = (own - beside).transpose(0, 2, 1)
    there = ~np.isnan(tables)
    rows = pd.DataFrame(
        {
            "series": kept[:, 0],
            "depth": [depths[one][place - 1] if place else np.nan for one, place in kept],
            "depths": [1 if place else len(depths[one]) for one, place in kept],
            "seeds": there.any(axis=1).sum(axis=1),
            "samples": there.any(axis=2).sum(axis=1),
            "value": _means(value[:, None])[:, 0],
            "value_beside": _means(value_beside[:, None])[:, 0],
            "lowest_seed": np.fmin.reduce(differences, axis=1),
            "highest_seed": np.fmax.reduce(differences, axis=1),
        }
    )
    return rows, tables


def _by_place(values: Floats, places: Sequence[Place], series: Series) -> Floats:
    """Put values [pairs, samples] in their places [series, depths + 1, seeds, samples]: at 0 are the means over the
    depths that a seed has, NaN where one of them lacks the sample."""
    seeds = {seed: number for number, seed in enumerate(sorted({seed for _, seed in places}))}
    depths = [sorted({places[member][0] for member in members}) for members in series.values()]
    table = np.full((len(series), 1 + max(map(len, depths)), len(seeds), values.shape[1]), np.nan)
    for number, members in enumerate(series.values()):
        for member in members:
            depth, seed = places[member]
            table[number, 1 + depths[number].index(depth), seeds[seed]] = values[member]
    has = ~np.isnan(table).all(axis=3, keepdims=True)
    with np.errstate(invalid="ignore"):
        table[:, 0] = np.where(has, table, 0.0)[:, 1:].sum(axis=1) / has[:, 1:].sum(axis=1)
    return table


def _means(values: Floats) -> Floats:
    """The means over the last axis of what is not NaN."""
    return mean_of_rows(values.reshape(-1, values.shape[-1])).reshape(values.shape[:-1])


def pooled(results: Results) -> pd.DataFrame:
    """Return a row for each contrast, pair, weight, wordings and tier, over all models where there are at least three.

    The differences of a template and model are averaged over depths and seeds, then over templates and models, each a
    sample, which the interval is over. `p_models` is that of the wild cluster bootstrap over models alone.
    """
    rows = []
    for contrast in CONTRASTS:
        # A model that is prompted through its chat template is no further one.
        pairs = [pair for pair in pairs_of(results, contrast) if not pair[0].model.endswith(CHAT)]
        groups: dict[tuple[object, ...], dict[str, list[int]]] = {}
        for key, members in _series(pairs).items():
            groups.setdefault(key[1:], {})[str(key[0])] = members
        groups = {about: models for about, models in groups.items() if len(models) >= FEWEST_MODELS}
        found = {
            tier: np.subtract(*paired_values(results, contrast, pairs, tier))
            for tier in (_tiers(results, contrast) if groups else ())
        }
        for about, models in groups.items():
            for tier, difference in found.items():
                means = [mean_of_rows(difference[members].T) for members in models.values()]
                there = [mean for mean in means if has_any(mean[None])]
                if len(there) >= FEWEST_MODELS:
                    table = np.stack(there, axis=1)
                    named = (contrast.name, contrast.column, *about, tier, contrast.templates)
                    rows.append([*named, *_pooled(table[has_any(table)], results.decisions.confidence)])
    return pd.DataFrame(rows, columns=POOLED)


def _pooled(table: Floats, confidence: float) -> list[float]:
    found, of_models = effect(table, confidence), np.nanmean(table, axis=0)
    p = wild_cluster_p(of_models, np.arange(len(of_models)))
    return [table.shape[1], len(table), *found, of_models.min(), of_models.max(), p]


def overall(found: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Return the rows of a contrast over all depths."""
    return found[(found["contrast"] == contrast) & found["depth"].isna()]


def _verdict(contrast: Contrast, found: Interval, row: Mapping[Any, Any], table: Floats, decisions: Decisions) -> str:
    """What the interval `found` of the mean of a table [samples, seeds] says, or one of another confidence."""
    margin, alpha = decisions.non_inferiority_margin, 1 - decisions.confidence
    if contrast.asks == "cost":
        if row["value_beside"] < decisions.floor:
            return FLOOR
        if not_inferior(lambda _: found, margin, alpha / 2) == Judgement.SHOWN:
            return "preserved"
        return "hurt" if found.high < 0 else UNDECIDED
    if found.low > 0 or found.high < 0:
        return "above" if found.low > 0 else "below"
    if min(row["value"], row["value_beside"]) >= AT_CEILING:
        return CEILING
    if abs(found.estimate) >= margin:  # no interval of it lies within
        return UNDECIDED
    return "none" if equivalent(partial(effect, table), margin, alpha) == Judgement.SHOWN else UNDECIDED
