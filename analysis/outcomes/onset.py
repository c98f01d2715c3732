"""When a classifier appears in training, and over how many layers it is spread afterwards."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.units import PLACE, place
from analysis.statistics.intervals import Floats

COLUMNS = [*PLACE, "arm", "tier", "onset_step", "last_step", "peak_layer", "peak_depth", "half_width"]


class Spread(NamedTuple):
    """Where the right class token's mean probability is highest, and how wide that peak is."""

    layer: int
    half_width: float
    """Layers around the peak, without a gap, whose mean is at least half of the peak's, as a share of all layers."""


def onsets(results: Results) -> pd.DataFrame:
    """One row a finished cell with a class loss and tier.

    `onset_step` is the first of two evaluations in a row that pass; NaN where none did until `last_step` (censored),
    and where `last_step` is NaN too, training was not watched.
    """
    spread, watched = spreads(results), steps_of_onset(results.rows["onset"].chunks(), results)
    rows = []
    for cell in results.cells:
        for tier in results.tiers if cell.finished else ():
            if (cell.id, tier) not in spread:
                continue
            peak, (onset, last) = spread[cell.id, tier], watched.get((cell.id, tier), (math.nan, math.nan))
            rows.append(
                {
                    **place(cell),
                    "arm": cell.arm,
                    "tier": tier,
                    "onset_step": onset,
                    "last_step": last,
                    "peak_layer": peak.layer,
                    "peak_depth": (peak.layer + 1) / cell.blocks,
                    "half_width": peak.half_width,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def steps_of_onset(watched: Iterable[pd.DataFrame], results: Results) -> dict[tuple[str, str], tuple[float, float]]:
    """Return onset and last step of the cells that were watched in training, by their id and tier.

    Onset is the first of two evaluations in a row, at the trained layer, whose choice accuracy and mean p both reach
    the bounds of `emergent`. Estimates decide, not intervals: the held-out set that is evaluated in training is small.
    """
    layers = {cell.id: cell.layer for cell in results.cells}
    found = {}
    for rows in watched:
        trained = rows["unit"].cat.categories.map(layers).to_numpy(float)
        own = rows[rows["layer"].to_numpy() == trained[rows["unit"].cat.codes]]
        own = own.sort_values(["unit", "tier", "step"], kind="stable")
        decisions = results.decisions
        passed = ((own["choice"] >= decisions.choice_accuracy) & (own["p"] >= decisions.probability)).to_numpy(bool)
        step, places = own["step"].to_numpy(float), own[["unit", "tier"]].astype(object).to_numpy()
        starts = np.flatnonzero((places[1:] != places[:-1]).any(axis=1)) + 1
        for at in np.split(np.arange(len(own)), starts) if len(own) else ():
            first = np.flatnonzero(passed[at[:-1]] & passed[at[1:]])
            onset = float(step[at[first[0]]]) if len(first) else math.nan
            found[tuple(places[at[0]])] = (onset, float(step[at[-1]]))
    return found


def spreads(results: Results) -> dict[tuple[str, str], Spread]:
    """Peak and width over layers after stage 2 of each finished cell, by its id and tier, on the prompts that were read
    at every layer."""
    rows = results.rows["profile"].frame
    readouts = {cell.id: cell.readout for cell in results.cells}
    own = (rows["stage"] == "stage2") & (rows["pair"].astype(object) == rows["unit"].astype(object).map(readouts))
    rows = rows[own.to_numpy(bool)].sort_values(["unit", "tier", "layer"], kind="stable")
    blocks = {cell.id: cell.blocks for cell in results.cells}
    p = rows["p"].to_numpy(float)
    places: dict[tuple[str, str], Any] = rows.groupby(["unit", "tier"], observed=True, sort=False).indices  # type: ignore[assignment]
    return {(unit, tier): _spread(p[at], blocks[unit]) for (unit, tier), at in places.items()}


def _spread(p: Floats, blocks: int) -> Spread:
    """Of the probabilities at each layer."""
    peak = int(p.argmax())
    low = high = peak
    while low > 0 and p[low - 1] >= p[peak] / 2:
        low -= 1
    while high < len(p) - 1 and p[high + 1] >= p[peak] / 2:
        high += 1
    return Spread(peak, (high - low + 1) / blocks)
