"""When a classifier appears in training, and over how many layers it is spread afterwards."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.data.results import PLACE, Results, StudyUnit, place
from study.config.study import Decisions

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
    rows = []
    for cell in results.cells:
        if not cell.finished:
            continue
        watched = results.rows["onset"][cell.id]
        watched = watched[watched["layer"] == cell.layer]
        for tier in results.tiers:
            spread = spread_of(results, cell, tier)
            if spread is None:
                continue
            steps = watched[watched["tier"] == tier].sort_values("step")
            rows.append(
                {
                    **place(cell),
                    "arm": cell.arm,
                    "tier": tier,
                    "onset_step": onset_step(steps, results.decisions),
                    "last_step": math.nan if steps.empty else int(steps["step"].iloc[-1]),
                    "peak_layer": spread.layer,
                    "peak_depth": (spread.layer + 1) / cell.blocks,
                    "half_width": spread.half_width,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def onset_step(steps: pd.DataFrame, decisions: Decisions) -> float:
    """The first of two evaluations in a row whose choice accuracy and mean p both reach the bounds of `emergent`.

    `steps` are one tier's rows in the order of training. Estimates decide, not intervals: the held-out set that
    is evaluated in training is small.
    """
    passed = ((steps["choice"] >= decisions.choice_accuracy) & (steps["p"] >= decisions.probability)).to_numpy(bool)
    first = np.flatnonzero(passed[:-1] & passed[1:])
    return float(steps["step"].iloc[first[0]]) if len(first) else math.nan


def spread_of(results: Results, cell: StudyUnit, tier: str) -> Spread | None:
    """Peak and width over layers after stage 2, on the prompts that were read at every layer; None without any."""
    profile = results.rows["profile"][cell.id]
    rows = profile[(profile["stage"] == "stage2") & (profile["pair"] == cell.readout) & (profile["tier"] == tier)]
    if rows.empty:
        return None
    p = rows.sort_values("layer")["p"].to_numpy(float)
    peak = int(p.argmax())
    low = high = peak
    while low > 0 and p[low - 1] >= p[peak] / 2:
        low -= 1
    while high < len(p) - 1 and p[high + 1] >= p[peak] / 2:
        high += 1
    return Spread(peak, (high - low + 1) / cell.blocks)
