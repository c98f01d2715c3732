"""Whether the network uses its classifier: what exchanging the hidden state, or parts of it, does to the answers."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.results import Results, StudyUnit
from analysis.data.samples import by_sample
from analysis.outcomes.levels import shifted
from analysis.statistics.effects import effect
from analysis.statistics.intervals import Floats, Interval, bounds
from analysis.statistics.ratios import ratio

ABOUT = ["model", "pair", "weight", "wordings", "layer", "depth", "tier"]
DOSES = [*ABOUT, "subspace", "strength", "seeds", "samples", "prompts", "p", "p_low", "p_high", "followed"]
SHARES = [*ABOUT, "subspace", "floor", "seeds", "samples", "floor_p", "p", "ceiling_p", "ceiling"]
SHARES += [f"{name}{end}" for name in ("moved", "share") for end in ("", "_low", "_high")]
Tables = dict[str, dict[tuple[str, float], Floats]]
"""[samples, seeds] by quantity, then by subspace and strength."""
Places = Sequence[tuple[dict[str, object], Tables]]
"""What each series of cells, layer and tier is about, and its tables."""
FLOORS = {"class": "random", "paired_1": "random", "paired_4": "random_4", "complement": "random_4"}
"""The random subspace that each subspace is held against."""


def doses(results: Results, places: Places) -> pd.DataFrame:
    """Return a row for each series of cells that differ in their seed alone, layer, tier, subspace and strength.

    `p` is the mean probability of the source's answer, with an interval over templates and seeds; `followed` the share
    of prompts whose greedy answer is the source's. Where w = 0, layers are those of the plain cells.
    """
    rows = []
    for about, tables in places:
        for (subspace, strength), p in tables["p"].items():
            rows.append(
                {
                    **about,
                    "subspace": subspace,
                    "strength": strength,
                    "seeds": p.shape[1],
                    "samples": len(p),
                    "prompts": int(np.nansum(tables["prompts"][subspace, strength])),
                    **bounds("p", shifted(effect(p, results.decisions.confidence), 0.0)),
                    "followed": float(np.nanmean(tables["source_right"][subspace, strength])),
                }
            )
    return pd.DataFrame(rows, columns=DOSES)


def shares(results: Results, places: Places) -> pd.DataFrame:
    """Return a row for each subspace at strength 1: (subspace - floor) / (ceiling - floor).

    The floor is a random subspace in which the state moves as far, the ceiling the whole state. `moved` is the
    difference of the subspace to the floor, over templates and seeds; `share` is NaN, and says nothing, where the
    ceiling is not shown to be above the floor. No sample of n templates bounds a share better than n of n that all
    move, or do not: its low end is at most (alpha/2)^(1/n), its high end at least the complement.
    """
    rows, confidence = [], results.decisions.confidence
    for about, tables in places:
        p = {subspace: table for (subspace, strength), table in tables["p"].items() if strength == 1}
        for subspace, floor in FLOORS.items():
            if not {subspace, floor, "full"} <= p.keys():
                continue
            moved, possible = p[subspace] - p[floor], p["full"] - p[floor]
            ceiling = effect(possible, confidence)
            rows.append(
                {
                    **about,
                    "subspace": subspace,
                    "floor": floor,
                    "seeds": moved.shape[1],
                    "samples": len(moved),
                    "floor_p": float(np.nanmean(p[floor])),
                    "p": float(np.nanmean(p[subspace])),
                    "ceiling_p": float(np.nanmean(p["full"])),
                    "ceiling": ceiling.low > 0,
                    **bounds("moved", effect(moved, confidence)),
                    **bounds("share", _share(moved, possible, confidence) if ceiling.low > 0 else None),
                }
            )
    return pd.DataFrame(rows, columns=SHARES)


def _share(moved: Floats, possible: Floats, confidence: float) -> Interval:
    found = ratio(moved, possible, confidence)
    exact = ((1 - confidence) / 2) ** (1 / len(moved))
    return Interval(found.estimate, min(found.low, exact), max(found.high, 1 - exact))


def exchanges(results: Results) -> Places:
    """Return the tables of every series of cells that differ in their seed alone, layer and tier."""
    found: list[tuple[dict[str, object], Tables]] = []
    for cells in _series(results):
        parts = [_by_move(results, cell) for cell in cells if not results.rows["interchange"][cell.id].empty]
        if not parts:
            continue
        first = cells[0]
        rows = pd.concat([part.assign(number=number) for number, part in enumerate(parts)])
        for _, here in rows.groupby(["layer", "tier"], sort=True):
            layer, tier = int(here["layer"].iloc[0]), str(here["tier"].iloc[0])
            about: dict[str, object] = {"model": first.model, "pair": first.pair, "weight": first.weight}
            about |= {"wordings": "+".join(first.wordings), "layer": layer, "depth": (layer + 1) / first.blocks}
            found.append(({**about, "tier": tier}, _tables(here, len(parts))))
    order = {tier: i for i, tier in enumerate(results.tiers)}
    return sorted(found, key=lambda one: (results.model_names.index(str(one[0]["model"])), order[str(one[0]["tier"])]))


def _by_move(results: Results, cell: StudyUnit) -> pd.DataFrame:
    """Average prompts within templates, by layer, subspace, strength and tier."""
    rows = results.rows["interchange"][cell.id]
    rows = rows.assign(p=np.exp(-rows["source_nll"]))
    evaluated = results.rows["answers"][cell.id]
    found = by_sample(rows, ["p", "source_right"], ["layer", "subspace", "strength"], evaluated)
    return found.drop(columns="seen").reset_index()


def _tables(rows: pd.DataFrame, seeds: int) -> Tables:
    """Return the tables of one layer and tier; `number` is that of the seed."""
    move, moves = pd.factorize(pd.MultiIndex.from_frame(rows[["subspace", "strength"]].astype({"subspace": str})))
    sample, samples = pd.factorize(rows["sample"])
    tables: Tables = {}
    for column in ("p", "source_right", "prompts"):
        values = np.full((len(moves), len(samples), seeds), np.nan)
        values[move, sample, rows["number"].to_numpy()] = rows[column].to_numpy(float)
        named = zip(moves, values, strict=True)
        tables[column] = {(str(subspace), float(strength)): table for (subspace, strength), table in named}
    return tables


def _series(results: Results) -> list[list[StudyUnit]]:
    """Finished plain cells, and those with w = 0, that differ in their seed alone."""
    series: dict[tuple[object, ...], list[StudyUnit]] = {}
    for unit in results.units.values():
        if unit.kind == "cell" and unit.finished and unit.arm == "plain":
            key = (unit.model, unit.pair, unit.weight, unit.wordings, unit.layer)
            series.setdefault(key, []).append(unit)
    return list(series.values())


def is_used(row: "pd.Series[float]") -> bool | None:
    """Return whether a row of `shares` shows that answers follow the subspace; None where nothing could be moved."""
    if not row["ceiling"] or math.isnan(row["share"]):
        return None
    return bool(row["moved_low"] > 0)
