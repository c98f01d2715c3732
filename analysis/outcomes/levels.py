"""Choice accuracy and probability of every cell on every wording, over templates; and their means over seeds."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.results import PLACE, Results, StudyUnit, place
from analysis.data.samples import of_tier, values_of
from analysis.outcomes.fit import class_loss, has_fitted
from analysis.statistics.effects import effect
from analysis.statistics.families import max_t
from analysis.statistics.intervals import Floats, Interval, bounds, level
from study.config.names import NOBODY

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


def levels(results: Results) -> pd.DataFrame:
    """Return a row for each finished cell with a class loss, tier, and kind of templates: `unseen` by any training,
    or `seen`.

    `samples` are the templates that intervals are over, or groups of operands where a tier has few templates.
    `p_above_chance` is corrected for all plain cells of a tier (max-T by flipping the signs of templates); NaN for
    other arms.
    """
    rows = []
    for cell in results.cells:
        if not cell.finished:
            continue
        samples, loss, fitted = results.trained_by_sample(cell), class_loss(results, cell), has_fitted(results, cell)
        about = {**place(cell), "arm": cell.arm, "wordings": "+".join(cell.wordings)}
        for (tier, unseen), own in samples.groupby([samples.index.get_level_values("tier"), samples["seen"] == NOBODY]):
            rows.append(
                {
                    **about,
                    "tier": tier,
                    "templates": "unseen" if unseen else "seen",
                    "samples": len(own),
                    "prompts": int(own["prompts"].sum()),
                    "class_loss": loss,
                    "fitted": fitted,
                    **bounds("choice", level(values_of(own, "choice"), results.decisions.confidence)),
                    **bounds("order", order_level(values_of(own, "order"), results.decisions.confidence)),
                    **bounds("p", level(values_of(own, "p"), results.decisions.confidence)),
                    "p_above_chance": math.nan,
                }
            )
    found = pd.DataFrame(rows, columns=LEVELS)
    found["p_above_chance"] = found.index.map(_above_chance(results, found)).astype(float)
    order = {tier: i for i, tier in enumerate(results.tiers)}
    return found.sort_values("tier", key=lambda tiers: tiers.map(order), kind="stable").reset_index(drop=True)


def means(results: Results, found: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each series of cells that differ in their seed alone, tier and kind of templates.

    `choice` is the mean over seeds of the cells that fitted, with an interval over templates and seeds (over templates
    alone for one seed), and the lowest and the highest seed; `not_fitted` counts the others. `order` is the share of
    matched pairs of prompts in the right order. `zero_choice`, with its `zero_lowest_seed` and `zero_highest_seed`, and
    `zero_order` with its own, are the same of the model trained without a class loss, read as the plain cells of those
    seeds are.
    """
    rows = []
    cells = {cell.id: cell for cell in results.cells}
    keys = [*SERIES, "tier", "templates"]
    for key, own in found.groupby(keys, sort=False, dropna=False):
        fitted = own[own["fitted"]]
        about = dict(zip(keys, key, strict=True))
        if fitted.empty:
            rows.append({**about, "samples": 0, "seeds": 0, "not_fitted": len(own)})
            continue
        chosen = [cells[unit] for unit in fitted["unit"]]
        place = (str(about["tier"]), about["templates"] == "unseen")
        table, order = (seeds_table(results, chosen, *place, column) for column in ("choice", "order"))
        chance, confidence = chosen[0].chance, results.decisions.confidence
        rows.append(
            {
                **about,
                "samples": len(table),
                "seeds": len(fitted),
                "not_fitted": len(own) - len(fitted),
                **bounds("choice", shifted(effect(table - chance, confidence), chance)),
                "lowest_seed": fitted["choice"].min(),
                "highest_seed": fitted["choice"].max(),
                **bounds("order", None if np.isnan(order).all() else shifted(effect(order - 0.5, confidence), 0.5)),
                **_zeros(results, chosen, *place),
                "p": fitted["p"].mean(),
                "p_above_chance": fitted["p_above_chance"].max(),
            }
        )
    return pd.DataFrame(rows, columns=MEANS)


def order_level(values: Floats, confidence: float) -> Interval | None:
    """Return `level` of shares of matched pairs in the right order; None where there are no such pairs."""
    return None if np.isnan(values).all() else level(values, confidence)


def _zeros(results: Results, cells: Sequence[StudyUnit], tier: str, unseen: bool) -> dict[str, float]:
    """Return the mean over seeds of what plain cells' read-outs are in the models with w = 0; NaN where none is."""
    found: dict[str, list[float]] = {"zero_choice": [], "zero_order": []}
    for cell in cells:
        if cell.arm == "plain" and (zero := results.zero_of(cell)):
            own = of_tier(results.lens_by_sample(zero, "stage2", cell.readout, cell.layer), tier)
            own = own[(own["seen"] == NOBODY) == unseen]
            for name, values in found.items():
                values.append(float(own[name.removeprefix("zero_")].mean()))
    told: dict[str, float] = {}
    for name, values in found.items():
        seeds, prefix = values or [math.nan], "zero" if name == "zero_choice" else name
        told |= {name: float(np.mean(seeds)), f"{prefix}_lowest_seed": min(seeds), f"{prefix}_highest_seed": max(seeds)}
    return told


def seeds_table(results: Results, cells: Sequence[StudyUnit], tier: str, unseen: bool, column: str) -> Floats:
    """Return the values of cells that differ in their seed, [samples, seeds]; NaN where a seed lacks a sample."""
    columns = []
    for cell in cells:
        samples = results.trained_by_sample(cell)
        own = of_tier(samples, tier)
        own = own[(own["seen"] == NOBODY) == unseen]
        columns.append(own[column].droplevel("tier"))
    return pd.concat(columns, axis=1).to_numpy(float)


def shifted(interval: Interval, by: float) -> Interval:
    """Return an interval with its three numbers moved by as much, held within 0 and 1."""
    return Interval(*(min(max(part + by, 0.0), 1.0) for part in interval))


def _above_chance(results: Results, found: pd.DataFrame) -> dict[int, float]:
    """Return the corrected p of each plain row being above chance, by the row's index; a family is a tier with a kind
    of templates."""
    cells = {cell.id: cell for cell in results.cells}
    told: dict[int, float] = {}
    plain = found[found["arm"] == "plain"]
    for _, own in plain.groupby(["tier", "templates"], sort=False):
        columns, (tier, templates) = [], own[["tier", "templates"]].iloc[0]
        for unit in own["unit"]:
            samples, cell = results.trained_by_sample(cells[unit]), cells[unit]
            here = of_tier(samples, tier)
            here = here[(here["seen"] == NOBODY) == (templates == "unseen")]
            columns.append(here["choice"].droplevel("tier") - cell.chance)
        differences = pd.concat(columns, axis=1).to_numpy(float).T
        told |= dict(zip(own.index, max_t(differences, "greater").tolist(), strict=True))
    return {index: told.get(index, math.nan) for index in found.index}
