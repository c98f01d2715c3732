"""What one change of a small model does: each change of the nursery beside the base, paired by seed and depth."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.samples import has_any, mean_of_rows
from analysis.data.units import StudyUnit
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
    pairs = list(_pairs(results))
    changed, bases = [cell for cell, _, _ in pairs], [base for _, base, _ in pairs]
    rows: list[dict[str, object]] = []
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, (cell, _, _) in enumerate(pairs):
        groups.setdefault((cell.model, cell.pair, cell.weight, "+".join(cell.wordings)), []).append(number)
    for measure, tier in product(MEASURES, results.tiers):
        own, beside = (_values(results, side, measure, tier, onset) for side in (changed, bases))
        there = has_any(own) & has_any(beside)
        for about, members in groups.items():
            here = [number for number in members if there[number]]
            places = [(pairs[number][2], pairs[number][0].seed) for number in here]
            if here:
                rows += _summed(results, (*about, measure, tier), places, own[here], beside[here])
    order = {name: i for i, name in enumerate([*results.model_names, *MEASURES, *results.tiers])}
    rows.sort(key=lambda row: tuple(order.get(str(row[part]), -1) for part in COMPARED))
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


def _values(results: Results, cells: Sequence[StudyUnit], measure: str, tier: str, onset: pd.DataFrame) -> Floats:
    """The values of cells by sample, [cells, samples]; one value alone of the onset."""
    if measure == "onset":
        own = onset[onset["tier"] == tier].set_index("unit")
        steps = own["onset_step"].fillna(own["last_step"]).astype(float)
        return np.asarray(steps.reindex([cell.id for cell in cells]), np.float64)[:, None]
    samples = (results.answered if measure == "answers" else results.readouts).get(tier)
    if samples is None:
        return np.full((len(cells), 1), np.nan)
    if measure == "answers":
        rows = samples.rows((cell.id, "stage2") for cell in cells)
        return samples.figures("right", rows, samples.of(rows))
    rows = samples.rows(cell.trained for cell in cells)
    return samples.figures(measure, rows, samples.shown(rows)[0])


def _summed(
    results: Results, key: tuple[object, ...], places: Sequence[tuple[float, int]], own: Floats, base: Floats
) -> Iterator[dict[str, object]]:
    """Yield the rows of one comparison, of values [pairs, samples] at `places` of depth and seed: by seed, by depth,
    and over both."""
    about = dict(zip(COMPARED, key, strict=True))
    for depth in [*sorted({depth for depth, _ in places}), np.nan]:
        here = [place for place in enumerate(places) if depth != depth or place[1][0] == depth]
        # Prompts are the same at all depths, so that the mean over these is no better known than one of them.
        seeds = {
            seed: tuple(mean_of_rows(side[[i for i, (_, its) in here if its == seed]].T) for side in (own, base))
            for seed in sorted({seed for _, (_, seed) in here})
        }
        if depth != depth:
            for seed, (changed, unchanged) in seeds.items():
                means = {"base": float(np.nanmean(unchanged)), "changed": float(np.nanmean(changed))}
                alone = Interval(means["changed"] - means["base"], np.nan, np.nan)
                yield {**about, "depth": np.nan, "seed": seed, "seeds": 1, **means, **bounds("difference", alone)}
        means = {
            "base": float(np.mean([np.nanmean(unchanged) for _, unchanged in seeds.values()])),
            "changed": float(np.mean([np.nanmean(changed) for changed, _ in seeds.values()])),
        }
        table = np.stack([changed - unchanged for changed, unchanged in seeds.values()], axis=1)
        interval = _interval(results, str(about["measure"]), table)
        yield {**about, "depth": depth, "seed": np.nan, "seeds": len(seeds), **means, **bounds("difference", interval)}


def _interval(results: Results, measure: str, table: Floats) -> Interval:
    if measure != "onset":
        return effect(table, results.decisions.confidence)
    # A step is known to one evaluation, in both of the models.
    every = results.config.get("evaluation", {}).get("onset_every", 0)
    return mean_over_seeds(table[0], every * math.sqrt(2 / 12), results.decisions.confidence)
