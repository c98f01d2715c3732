"""What one change of a small model does: each change of the nursery beside the base, paired by seed and depth."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.results import Results, StudyUnit
from analysis.data.samples import of_tier, shown
from analysis.statistics.effects import effect
from analysis.statistics.intervals import Floats, Interval, bounds
from analysis.statistics.seeds import mean_over_seeds
from study.config.nursery import BASE

COMPARED = ["change", "pair", "weight", "wordings", "measure", "tier"]
COLUMNS = [
    *COMPARED,
    "depth",
    "seed",
    "seeds",
    "base",
    "changed",
    *(f"difference{end}" for end in ("", "_low", "_high")),
]


@dataclass(frozen=True)
class Measure:
    """An outcome of a cell on a tier that is compared."""

    name: str
    unit: str
    scale: float
    """By which differences are multiplied to be in that unit."""
    decimals: int
    more: str
    """What a difference above zero is called, and below zero."""
    less: str


MEASURES = {
    "choice": Measure("choice accuracy", "points", 100, 1, "higher", "lower"),
    "p": Measure("p of the right class token", "probability", 1, 2, "higher", "lower"),
    "answers": Measure("answer accuracy after stage 2", "points", 100, 1, "higher", "lower"),
    "onset": Measure("onset", "steps", 1, 0, "later", "earlier"),
}
Found = tuple[float, int, "pd.Series[float]", "pd.Series[float]"]
"""Depth and seed of a pair of cells, and the values of the changed one and of the base."""
Values = dict[tuple[str, str], "pd.Series[float]"]
"""Of a cell, the values by sample of each measure and tier; one value alone of the onset."""


def changes(results: Results, onset: pd.DataFrame) -> pd.DataFrame:
    """Return differences of each change from the base, of plain cells; empty where the study has no nursery.

    Each cell is paired with the base's of the same seed and settings at the nearest relative depth, which is at most
    half a block of the shallower model away, template by template. Without a `depth` a row is the mean over depths,
    without a `seed` over seeds, with an interval over templates and seeds; with neither it is what is decided on.
    `onset` that did not come counts as the last step that was watched, so that its difference is a bound. `base` and
    `changed` are the means.
    """
    if results.nursery is None:
        return pd.DataFrame(columns=COLUMNS)
    groups: dict[tuple[object, ...], list[Found]] = {}
    for cell, base, depth in _pairs(results):
        own, beside = _values(results, cell, onset), _values(results, base, onset)
        for key in own.keys() & beside.keys():
            about = (cell.model, cell.pair, cell.weight, "+".join(cell.wordings), *key)
            groups.setdefault(about, []).append((depth, cell.seed, own[key], beside[key]))
    order = {name: i for i, name in enumerate([*results.model_names, *MEASURES, *results.tiers])}
    keys = sorted(groups, key=lambda key: tuple(order.get(str(part), -1) for part in key))
    rows = [row for key in keys for row in _summed(results, key, groups[key])]
    return pd.DataFrame(rows, columns=COLUMNS)


def overall(changes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are decided on: means over depths and seeds."""
    return changes[changes["depth"].isna() & changes["seed"].isna()]


def verdict(row: "pd.Series[float]") -> str:
    """Return what a row of `overall` shows, in a word or two."""
    measure = MEASURES[str(row["measure"])]
    if row["seeds"] < 2:
        return "one seed"
    if row["difference_low"] > 0:
        return measure.more
    return measure.less if row["difference_high"] < 0 else "no difference shown"


def _pairs(results: Results) -> Iterator[tuple[StudyUnit, StudyUnit, float]]:
    """A changed cell, its partner, and the partner's depth."""
    plain = [cell for cell in results.plain if cell.finished]
    assert results.nursery
    for cell in plain:
        if cell.model in results.nursery.changes:
            same = [base for base in plain if base.model == BASE and _settings(base) == _settings(cell)]
            nearest = min(same, key=lambda base: abs(base.depth - cell.depth), default=None)
            if nearest and abs(nearest.depth - cell.depth) <= 0.5 / min(nearest.blocks, cell.blocks) + 1e-9:
                yield cell, nearest, nearest.depth


def _settings(cell: StudyUnit) -> tuple[object, ...]:
    return cell.pair, cell.weight, cell.wordings, cell.seed


def _values(results: Results, cell: StudyUnit, onset: pd.DataFrame) -> Values:
    read, answers = results.trained_by_sample(cell), results.answers_by_sample(cell, "stage2")
    found: Values = {}
    for tier in results.tiers:
        own = shown(read, tier)[0].droplevel("tier")
        found |= {(name, tier): own[name] for name in ("choice", "p") if len(own)}
        told = of_tier(answers, tier).droplevel("tier")
        if len(told):
            found["answers", tier] = told["right"]
    for row in onset[onset["unit"] == cell.id].to_dict("records"):
        step = row["last_step"] if math.isnan(row["onset_step"]) else row["onset_step"]
        if not math.isnan(step):
            found["onset", row["tier"]] = pd.Series([step], dtype=float)
    return found


def _summed(results: Results, key: tuple[object, ...], found: Sequence[Found]) -> Iterator[dict[str, object]]:
    """Yield the rows of one comparison: by seed, by depth, and over both."""
    about = dict(zip(COMPARED, key, strict=True))
    for depth in [*sorted({place for place, *_ in found}), np.nan]:
        here = [one for one in found if depth != depth or one[0] == depth]
        # Prompts are the same at all depths, so that the mean over these is no better known than one of them.
        seeds = {
            seed: [pd.concat(parts, axis=1).mean(axis=1) for parts in zip(*_of(here, seed), strict=True)]
            for seed in sorted({seed for _, seed, *_ in here})
        }
        if depth != depth:
            for seed, (own, base) in seeds.items():
                means = {"base": base.mean(), "changed": own.mean()}
                alone = Interval(means["changed"] - means["base"], np.nan, np.nan)
                yield {**about, "depth": np.nan, "seed": seed, "seeds": 1, **means, **bounds("difference", alone)}
        means = {
            "base": float(np.mean([base.mean() for _, base in seeds.values()])),
            "changed": float(np.mean([own.mean() for own, _ in seeds.values()])),
        }
        table = pd.concat([own - base for own, base in seeds.values()], axis=1).to_numpy(float)
        interval = _interval(results, str(about["measure"]), table)
        yield {**about, "depth": depth, "seed": np.nan, "seeds": len(seeds), **means, **bounds("difference", interval)}


def _of(found: Sequence[Found], seed: int) -> "list[tuple[pd.Series[float], pd.Series[float]]]":
    return [(own, base) for _, its, own, base in found if its == seed]


def _interval(results: Results, measure: str, table: Floats) -> Interval:
    if measure != "onset":
        return effect(table, results.decisions.confidence)
    # A step is known to one evaluation, in both of the models.
    every = results.config.get("evaluation", {}).get("onset_every", 0)
    return mean_over_seeds(table[0], every * math.sqrt(2 / 12), results.decisions.confidence)
