"""Whether the network uses its classifier: what exchanging the hidden state, or parts of it, does to the answers."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.samples import Flags, Samples, by_sample
from analysis.data.units import StudyUnit
from analysis.outcomes.fit import has_fitted
from analysis.statistics.effects import of_each
from analysis.statistics.intervals import Floats, columns
from analysis.statistics.ratios import ratios

ABOUT = ["model", "pair", "operations", "weight", "wordings", "layer", "depth", "tier"]
DOSES = [*ABOUT, "subspace", "strength", "seeds", "samples", "prompts", "p", "p_low", "p_high", "followed"]
SHARES = [*ABOUT, "subspace", "floor", "seeds", "samples", "floor_p", "p", "ceiling_p", "ceiling"]
SHARES += [f"{name}{end}" for name in ("moved", "share") for end in ("", "_low", "_high")]


class Moved(NamedTuple):
    """What one exchange, of a subspace and strength, does in cells that differ in their seed alone."""

    p: Floats
    """Probability of the source's answer, [samples, seeds]."""
    prompts: int
    followed: float
    """Share of prompts whose greedy answer is the source's."""


Tables = dict[tuple[str, float], Moved]
"""By subspace and strength."""
Places = Sequence[tuple[dict[str, object], Tables]]
"""What each series of cells, layer and tier is about, and its tables."""
FLOORS = {"class": "random", "paired_1": "random", "paired_4": "random_4", "complement": "random_4"}
"""The random subspace that each subspace is held against."""


def doses(results: Results, places: Places) -> pd.DataFrame:
    """Return a row for each series of cells that differ in their seed alone, layer, tier, subspace and strength.

    `p` is the mean probability of the source's answer, with an interval over templates and seeds; `followed` the share
    of prompts whose greedy answer is the source's. Where w = 0, layers are those of the plain cells.
    """
    rows, moved = [], []
    for about, tables in places:
        for (subspace, strength), of in tables.items():
            moved.append(of.p)
            rows.append(
                {
                    **about,
                    "subspace": subspace,
                    "strength": strength,
                    "seeds": of.p.shape[1],
                    "samples": int((~np.isnan(of.p).all(axis=1)).sum()),
                    "prompts": of.prompts,
                    "followed": of.followed,
                }
            )
    if not rows:
        return pd.DataFrame(columns=DOSES)
    found = np.clip(of_each(moved, results.decisions.confidence), 0.0, 1.0)
    return pd.DataFrame(rows).assign(**columns("p", found)).reindex(columns=DOSES)


def shares(results: Results, places: Places) -> pd.DataFrame:
    """Return a row for each subspace at strength 1: (subspace - floor) / (ceiling - floor).

    The floor is a random subspace in which the state moves as far, the ceiling the whole state. `moved` is the
    difference of the subspace to the floor, over templates and seeds; `share` is NaN, and says nothing, where the
    ceiling is not shown to be above the floor. No sample of n templates bounds a share better than n of n that all
    move, or do not: its low end is at most (alpha/2)^(1/n), its high end at least the complement.
    """
    rows: list[dict[str, object]] = []
    moves, ceilings, confidence = [], [], results.decisions.confidence
    for about, tables in places:
        p = {subspace: of.p for (subspace, strength), of in tables.items() if strength == 1}
        for subspace, floor in FLOORS.items():
            if not {subspace, floor, "full"} <= p.keys():
                continue
            moves.append(p[subspace] - p[floor])
            ceilings.append(p["full"] - p[floor])
            rows.append(
                {
                    **about,
                    "subspace": subspace,
                    "floor": floor,
                    "seeds": moves[-1].shape[1],
                    "samples": int((~np.isnan(moves[-1]).all(axis=1)).sum()),
                    "floor_p": float(np.nanmean(p[floor])),
                    "p": float(np.nanmean(p[subspace])),
                    "ceiling_p": float(np.nanmean(p["full"])),
                }
            )
    if not rows:
        return pd.DataFrame(columns=SHARES)
    shown = of_each(ceilings, confidence)[:, 1] > 0
    found = columns("moved", of_each(moves, confidence)) | columns("share", _shares(moves, ceilings, shown, confidence))
    return pd.DataFrame(rows).assign(ceiling=shown, **found).reindex(columns=SHARES)


def _shares(moves: Sequence[Floats], ceilings: Sequence[Floats], shown: Flags, confidence: float) -> Floats:
    """The share of each move in its ceiling, with its interval; NaN where the ceiling is not shown."""
    found, known = np.full((len(moves), 3), np.nan), np.flatnonzero(shown).tolist()
    found[known] = ratios([moves[i] for i in known], [ceilings[i] for i in known], confidence)
    templates = np.array([np.count_nonzero(~np.isnan(table).all(axis=1)) for table in moves])
    exact = ((1 - confidence) / 2) ** (1 / np.maximum(templates, 1))
    return np.stack([found[:, 0], np.minimum(found[:, 1], exact), np.maximum(found[:, 2], 1 - exact)], axis=1)


def exchanges(results: Results) -> Places:
    """Return the tables of every series of cells that differ in their seed alone, layer and tier."""
    found: list[tuple[dict[str, object], Tables]] = []
    for tier in results.tiers:  # one at a time, since these are the largest arrays of a report
        if (samples := _moved(results, tier)) is None:
            continue
        moves: dict[str, dict[int, dict[tuple[str, float], int]]] = {}
        for (unit, layer, subspace, strength), row in samples.places.items():
            moves.setdefault(str(unit), {}).setdefault(int(str(layer)), {})[str(subspace), float(str(strength))] = row
        for cells in _series(results):
            units = [moves[cell.id] for cell in cells if cell.id in moves]
            for layer in sorted({layer for unit in units for layer in unit}):
                tables = _tables(samples, [unit.get(layer, {}) for unit in units])
                found.append(({**_about(cells[0], layer), "tier": tier}, tables))
    order = {model: number for number, model in enumerate(results.model_names)}
    return sorted(found, key=lambda one: order[str(one[0]["model"])])


def _moved(results: Results, tier: str) -> Samples | None:
    """The prompts of a tier whose states were exchanged, by sample; None where there are none."""
    own = (rows[rows["tier"] == tier] for rows in results.rows["interchange"].chunks())
    read = (rows.assign(p=np.exp(-rows["source_nll"].astype(float))) for rows in own)
    apart = ["unit", "layer", "subspace", "strength"]
    return by_sample(read, ["p", "source_right"], apart, results.few_templates).get(tier)


def _about(cell: StudyUnit, layer: int) -> dict[str, object]:
    about: dict[str, object] = {"model": cell.model, "pair": cell.pair, "weight": cell.weight}
    about |= {"operations": "+".join(sorted(cell.operations)), "wordings": "+".join(cell.wordings)}
    return about | {"layer": layer, "depth": (layer + 1) / cell.blocks}


def _tables(samples: Samples, seeds: Sequence[Mapping[tuple[str, float], int]]) -> Tables:
    """Return the tables of one layer and tier, whose rows each seed has by its moves."""
    moves = list(dict.fromkeys(move for seed in seeds for move in seed))
    rows = {move: np.array([seed.get(move, len(samples.places)) for seed in seeds]) for move in moves}
    there = (samples.prompts[np.concatenate(list(rows.values()))] > 0).any(axis=0)
    p, right = (samples.values[name] for name in ("p", "source_right"))
    return {
        move: Moved(p[own][:, there].T, int(samples.prompts[own].sum()), float(np.nanmean(right[own])))
        for move, own in rows.items()
    }


def _series(results: Results) -> list[list[StudyUnit]]:
    """Finished plain cells that fitted, and those with w = 0, that differ in their seed alone."""
    series: dict[tuple[object, ...], list[StudyUnit]] = {}
    for unit in results.units.values():
        if unit.kind == "cell" and unit.finished and unit.arm == "plain":
            if unit.layer is not None and not has_fitted(results, unit):
                continue  # it learned no class that could be used
            key = (unit.model, unit.pair, frozenset(unit.operations), unit.weight, unit.wordings, unit.layer)
            series.setdefault(key, []).append(unit)
    return list(series.values())


def is_used(row: "pd.Series[float]") -> bool | None:
    """Return whether a row of `shares` shows that answers follow the subspace; None where nothing could be moved."""
    if not row["ceiling"] or math.isnan(row["share"]):
        return None
    return bool(row["moved_low"] > 0)
