"""What one change of a small model does: each change of the nursery beside the base, paired by seed and depth."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from analysis.data.results import Results, StudyUnit
from analysis.data.statistics import Interval, bounds, over_seeds
from study.config.nursery import BASE
from study.config.study import Decisions

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
    "answers": Measure("change of answer accuracy by stage 2", "points", 100, 1, "higher", "lower"),
    "onset": Measure("onset", "steps", 1, 0, "later", "earlier"),
}


def changes(results: Results, outcomes: pd.DataFrame, preserved: pd.DataFrame, onset: pd.DataFrame) -> pd.DataFrame:
    """Differences of a change from the base, of plain cells; empty where the study has no nursery.

    Each cell is paired with the base's of the same seed and settings at the nearest relative depth, which is at most
    half a block of the shallower model away. Without a `depth` a row is the mean over depths, without a `seed` over
    seeds, with an interval if there are at least two; with neither it is what is decided on. `onset` that did not come
    counts as the last step that was watched, so that its difference is a bound. `base` and `changed` are the means.
    """
    if results.nursery is None:
        return pd.DataFrame(columns=COLUMNS)
    pairs = pd.DataFrame(_pairs(results), columns=["unit", "partner", "depth"])
    levels = pd.concat(_levels(results, outcomes, preserved, onset))
    found = levels.merge(pairs, on="unit").merge(
        levels[["unit", "measure", "tier", "level", "error"]],
        left_on=["partner", "measure", "tier"],
        right_on=["unit", "measure", "tier"],
        suffixes=("", "_base"),
    )
    found["difference"] = found["level"] - found["level_base"]
    found["variance"] = found["error"] ** 2 + found["error_base"] ** 2
    rows = [row for key, group in found.groupby(COMPARED, sort=False) for row in _summed(key, group, results.decisions)]
    return pd.DataFrame(rows, columns=COLUMNS)


def overall(changes: pd.DataFrame) -> pd.DataFrame:
    """The rows that are decided on: means over depths and seeds."""
    return changes[changes["depth"].isna() & changes["seed"].isna()]


def verdict(row: "pd.Series[float]") -> str:
    """What a row of `overall` shows, in a word or two."""
    measure = MEASURES[str(row["measure"])]
    if pd.isna(row["difference_low"]):
        return "one seed"
    if row["difference_low"] > 0:
        return measure.more
    return measure.less if row["difference_high"] < 0 else "no difference shown"


def _pairs(results: Results) -> Iterator[tuple[str, str, float]]:
    """Ids of a changed cell and of its partner, and the partner's depth."""
    plain = [cell for cell in results.plain if cell.finished]
    assert results.nursery
    for cell in plain:
        if cell.model in results.nursery.changes:
            same = [base for base in plain if base.model == BASE and _settings(base) == _settings(cell)]
            nearest = min(same, key=lambda base: abs(base.depth - cell.depth), default=None)
            if nearest and abs(nearest.depth - cell.depth) <= 0.5 / min(nearest.blocks, cell.blocks) + 1e-9:
                yield cell.id, nearest.id, nearest.depth


def _settings(cell: StudyUnit) -> tuple[object, ...]:
    return cell.pair, cell.weight, cell.wordings, cell.seed


def _levels(
    results: Results, outcomes: pd.DataFrame, preserved: pd.DataFrame, onset: pd.DataFrame
) -> Iterator[pd.DataFrame]:
    """Of each cell, measure and tier the `level` and its standard error: from the interval over prompts, or of a step
    that is known to one evaluation."""
    names = {cell.id: "+".join(cell.wordings) for cell in results.plain}
    every = results.config.get("evaluation", {}).get("onset_every", 0)
    after = onset.assign(value=onset["onset_step"].fillna(onset["last_step"]), error=every / np.sqrt(12)).dropna(
        subset="value"
    )
    kept = preserved[preserved["against"] == "stage 1"]
    parts = [
        ("choice", outcomes, outcomes["choice"], _error(outcomes, "choice", results.decisions)),
        ("p", outcomes, outcomes["p"], _error(outcomes, "p", results.decisions)),
        ("answers", kept, kept["difference"], _error(kept, "difference", results.decisions)),
        ("onset", after, after["value"], after["error"]),
    ]
    for name, rows, level, error in parts:
        told = rows[["unit", "pair", "weight", "seed", "tier"]].assign(
            change=rows["model"], wordings=rows["unit"].map(names), measure=name, level=level, error=error
        )
        yield told[told["wordings"].notna()]


def _error(rows: pd.DataFrame, name: str, decisions: Decisions) -> "pd.Series[float]":
    width: pd.Series[float] = rows[f"{name}_high"] - rows[f"{name}_low"]
    return width / (2 * NormalDist().inv_cdf((1 + decisions.confidence) / 2))


def _summed(key: tuple[object, ...], group: pd.DataFrame, decisions: Decisions) -> Iterator[dict[str, object]]:
    """The rows of one comparison: by seed, by depth, and over both."""
    about = dict(zip(COMPARED, key, strict=True))
    for depth, rows in [*group.groupby("depth"), (np.nan, group)]:
        # Prompts are the same at all depths, so that the mean over these is no better known than one of them.
        seeds = rows.groupby("seed")[["level", "level_base", "difference", "variance"]].mean()
        levels = {"base": seeds["level_base"], "changed": seeds["level"]}
        if depth != depth:
            for seed, one in seeds.iterrows():
                told = {"depth": np.nan, "seed": seed, "seeds": 1, "base": one["level_base"], "changed": one["level"]}
                yield {**about, **told, **bounds("difference", Interval(one["difference"], np.nan, np.nan))}
        found = over_seeds(
            seeds["difference"].to_numpy(float), np.sqrt(seeds["variance"].to_numpy(float)), decisions.confidence
        )
        means = {name: float(values.mean()) for name, values in levels.items()}
        yield {**about, "depth": depth, "seed": np.nan, "seeds": len(seeds), **means, **bounds("difference", found)}
