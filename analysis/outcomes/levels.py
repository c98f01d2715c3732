"""Choice accuracy and probability of every cell on every wording, over templates; and their means over seeds."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.samples import Codes, Samples, Templates, grouped, mean_of_rows
from analysis.data.units import PLACE, StudyUnit, place
from analysis.outcomes.fit import class_loss, has_fitted
from analysis.statistics import intervals
from analysis.statistics.effects import of_each
from analysis.statistics.families import max_t
from analysis.statistics.intervals import Floats, columns

LEVELS = [
    *(*PLACE, "arm", "wordings", "tier", "templates", "samples", "prompts", "class_loss", "fitted"),
    *(f"{name}{end}" for name in ("choice", "order", "p") for end in ("", "_low", "_high")),
    "p_above_chance",
]
SERIES = ["model", "pair", "arm", "weight", "wordings", "layer", "depth"]
"""What the cells of a mean over seeds have in common."""
MEANS = [
    *(*SERIES, "tier", "templates", "samples", "seeds", "not_fitted"),
    *("choice", "choice_low", "choice_high", "lowest_seed", "highest_seed", "order", "order_low", "order_high", "p"),
    *("p_above_chance", "zero_choice", "zero_lowest_seed", "zero_highest_seed"),
    *("zero_order", "zero_order_lowest_seed", "zero_order_highest_seed"),
]
KINDS: tuple[Templates, ...] = ("seen", "unseen")


def levels(results: Results) -> pd.DataFrame:
    """Return a row for each finished cell with a class loss, tier, and kind of templates: `unseen` by any training,
    or `seen`.

    `samples` are the templates that intervals are over, or groups of operands where a tier has few templates.
    `p_above_chance` is corrected for all plain cells of a tier (max-T by flipping the signs of templates); NaN for
    other arms.
    """
    cells = [cell for cell in results.cells if cell.finished]
    about = pd.DataFrame([_about(results, cell) for cell in cells])
    parts = [pd.DataFrame(columns=LEVELS)]
    for tier, samples in results.readouts.items():
        kinds = [_levels(results, cells, samples, kind).join(about) for kind in KINDS] if cells else []
        at_tier = pd.concat(kinds) if kinds else parts[0]
        parts.append(at_tier.assign(tier=tier).sort_index(kind="stable"))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)[LEVELS]


def _about(results: Results, cell: StudyUnit) -> dict[str, object]:
    fit = {"class_loss": class_loss(results, cell), "fitted": has_fitted(results, cell)}
    return {**place(cell), "arm": cell.arm, "wordings": "+".join(cell.wordings), **fit}


def _levels(results: Results, cells: Sequence[StudyUnit], samples: Samples, templates: Templates) -> pd.DataFrame:
    """The levels of the cells that have templates of a kind on one tier, by the number of the cell."""
    rows = samples.rows(cell.trained for cell in cells)
    there = samples.of(rows, templates)
    kept = np.flatnonzero(there.any(axis=1))
    rows, there = rows[kept], there[kept]
    figures = {name: samples.figures(name, rows, there) for name in ("choice", "order", "p")}
    found = {
        "templates": templates,
        "samples": there.sum(axis=1),
        "prompts": np.where(there, samples.prompts[rows], 0).sum(axis=1),
        **{
            name: column
            for figure, values in figures.items()
            for name, column in columns(figure, intervals.levels(values, results.decisions.confidence)).items()
        },
    }
    above = np.full(len(kept), np.nan)
    own = [cells[number] for number in kept.tolist()]
    plain = np.flatnonzero([cell.arm == "plain" for cell in own])
    if len(plain):
        chance = np.array([cell.chance for cell in own])[plain]
        differences = figures["choice"][plain] - chance[:, None]
        above[plain] = max_t(differences[:, ~np.isnan(differences).all(axis=0)], "greater")
    return pd.DataFrame({**found, "p_above_chance": above}, index=kept)


def means(results: Results, found: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each series of cells that differ in their seed alone, tier and kind of templates.

    `choice` is the mean over seeds of the cells that fitted, with an interval over templates and seeds (over templates
    alone for one seed), and the lowest and the highest seed; `not_fitted` counts the others. `order` is the share of
    matched pairs of prompts in the right order. `zero_choice`, with its `zero_lowest_seed` and `zero_highest_seed`, and
    `zero_order` with its own, are the same of the model trained without a class loss, read as the plain cells of those
    seeds are.
    """
    cells = {cell.id: cell for cell in results.cells}
    keys = [*SERIES, "tier", "templates"]
    series = np.asarray(found.groupby(keys, sort=False, dropna=False).ngroup(), np.intp)
    told = found.loc[~found.duplicated(keys), keys].reset_index(drop=True)
    fitted = found[found["fitted"].astype(bool)]
    parts = [pd.DataFrame(columns=MEANS)]
    for tier, templates in product(results.readouts, KINDS):
        own = fitted[(fitted["tier"] == tier) & (fitted["templates"] == templates)]
        if own.empty:
            continue
        chosen, at = [cells[unit] for unit in own["unit"]], series[own.index]
        zeros = _zeros(results, chosen, at, tier, templates)
        parts.append(_means(results, own, chosen, at, tier, templates).join(zeros))
    counted = told.join(pd.concat(parts[1:] or parts).drop(columns=keys, errors="ignore"))
    lacking = {"samples": 0, "seeds": 0}
    every = pd.Series(np.bincount(series, minlength=len(told)))
    return (
        counted.fillna(lacking)
        .assign(not_fitted=every - counted["seeds"].fillna(0))
        .reindex(columns=MEANS)
        .astype({"samples": int, "seeds": int, "not_fitted": int})
    )


def _means(
    results: Results, own: pd.DataFrame, cells: Sequence[StudyUnit], series: Codes, tier: str, templates: Templates
) -> pd.DataFrame:
    """The means of series of cells, whose rows of levels are `own`, by the number of the series."""
    tables = {name: figures_of(results, cells, tier, templates, name) for name in ("choice", "order")}
    groups, chance = grouped(series), {"choice": np.array([cell.chance for cell in cells])}
    found: dict[str, Floats] = {}
    for name, table in tables.items():
        middle = np.array([chance.get(name, np.full(len(cells), 0.5))[at[0]] for at in groups.values()])
        of_series = [table[at].T - mid for at, mid in zip(groups.values(), middle, strict=True)]
        shifted = of_each(of_series, results.decisions.confidence) + middle[:, None]
        found |= columns(name, np.clip(shifted, 0.0, 1.0))
    by_series = own.groupby(series, sort=False)
    singles = by_series.agg(
        seeds=("choice", "size"),
        lowest_seed=("choice", "min"),
        highest_seed=("choice", "max"),
        p=("p", "mean"),
        p_above_chance=("p_above_chance", "max"),
    )
    there = ~np.isnan(tables["choice"])
    samples = [int(there[at].any(axis=0).sum()) for at in groups.values()]
    return pd.DataFrame({"samples": samples, **found}, index=list(groups)).join(singles)


def _zeros(
    results: Results, cells: Sequence[StudyUnit], series: Codes, tier: str, templates: Templates
) -> pd.DataFrame:
    """The means over seeds of what plain cells' read-outs are in the models with w = 0; NaN where none is."""
    samples, zeros = results.readouts[tier], [results.zero_of(cell) if cell.arm == "plain" else None for cell in cells]
    rows = samples.rows(
        (zero.id if zero else "", results.zero_stage, cell.readout, cell.layer)
        for zero, cell in zip(zeros, cells, strict=True)
    )
    found: dict[str, pd.Series[float]] = {}
    for name, prefix in (("zero_choice", "zero"), ("zero_order", "zero_order")):
        values = samples.figures(name.removeprefix("zero_"), rows, samples.of(rows, templates))
        singles = pd.Series(mean_of_rows(values)).groupby(series, sort=False)
        found |= {name: singles.mean(), f"{prefix}_lowest_seed": singles.min(), f"{prefix}_highest_seed": singles.max()}
    return pd.DataFrame(found)


def figures_of(results: Results, cells: Sequence[StudyUnit], tier: str, templates: Templates, column: str) -> Floats:
    """Return a column of the read-outs of cells where they are trained [cells, samples], NaN where they lack a sample
    of that kind."""
    samples = results.readouts[tier]
    rows = samples.rows(cell.trained for cell in cells)
    return samples.figures(column, rows, samples.of(rows, templates))
