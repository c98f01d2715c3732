"""How deep a class token becomes readable: area and crossing of choice accuracy over relative depth, by tier."""

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.samples import Templates
from analysis.data.units import StudyUnit
from analysis.outcomes.fit import has_fitted
from analysis.statistics.depth import area, common_range, crossing
from analysis.statistics.intervals import Floats, bounds

READABLE = 0.75
"""The choice accuracy at which a class token is called readable, where depths are told."""
COLUMNS = [
    *("model", "pair", "arm", "weight", "wordings", "tier", "templates", "depths", "seeds", "samples"),
    *("from_depth", "to_depth", "area", "area_low", "area_high", "crossing", "crossing_low", "crossing_high"),
]


def depths(results: Results) -> pd.DataFrame:
    """Return a row for each series of plain cells and of controls that fitted, over at least two depths, and tier.

    `area` is that under (choice accuracy - chance) / (1 - chance) over the range of depths that all series of the arm
    have in common; `crossing` the first depth at which choice accuracy reaches READABLE, -inf at or before the first
    trained depth and inf after the last or never. Intervals are over templates and seeds.
    """
    rows = []
    for arm, series in by_arm(results).items():
        low, high = common_range([np.array(sorted(cells)) for cells in series.values()])
        for (model, pair, weight, wordings), cells in series.items():
            for tier in results.readouts:
                found, kind, _ = curves(results, cells, tier)
                if found is None or np.isnan(found).all(axis=(0, 1)).any():
                    continue
                at, chance = np.array(sorted(cells)), next(iter(cells.values()))[0].chance
                about = {"model": model, "pair": pair, "arm": arm, "weight": weight, "wordings": wordings, "tier": tier}
                counts = {"depths": len(at), "seeds": found.shape[1], "samples": len(found)}
                confidence = results.decisions.confidence
                spans = {"from_depth": low, "to_depth": high}
                if low < high:
                    spans |= bounds("area", area(found, at, chance, low, high, confidence))
                crossed = bounds("crossing", crossing(found, at, confidence, READABLE))
                rows.append({**about, "templates": kind, **counts, **spans, **crossed})
    return pd.DataFrame(rows, columns=COLUMNS)


Series = dict[tuple[str, str, float, str], dict[float, list[StudyUnit]]]
"""Cells by relative depth, of each series of one arm."""


def by_arm(results: Results) -> dict[str, Series]:
    """Return the series of each arm that have several depths, of cells that fitted."""
    found: dict[str, Series] = {}
    for cell in results.cells:
        if cell.finished and has_fitted(results, cell):
            key = (cell.model, cell.pair, cell.weight or 0.0, "+".join(cell.wordings))
            found.setdefault(cell.arm, {}).setdefault(key, {}).setdefault(cell.depth, []).append(cell)
    several = {arm: {key: cells for key, cells in series.items() if len(cells) > 1} for arm, series in found.items()}
    return {arm: series for arm, series in several.items() if series}


def curves(results: Results, cells: dict[float, list[StudyUnit]], tier: str) -> tuple[Floats | None, str, list[int]]:
    """Return choice accuracies [samples, seeds, depths] of the seeds that have every depth, or of all seeds where none
    has, on the templates that no training saw where there are some; with the kind of templates, and the seeds."""
    seeds = [{cell.seed for cell in here} for here in cells.values()]
    kept = sorted(set.intersection(*seeds) or set.union(*seeds))
    samples = results.readouts[tier]
    first = samples.rows([next(iter(cells.values()))[0].trained])
    if not samples.of(first).any():
        return None, "", []
    templates: Templates = "unseen" if samples.of(first, "unseen").any() else "seen"
    by_seed = [{cell.seed: cell.trained for cell in here} for _, here in sorted(cells.items())]
    rows = samples.rows(own.get(seed, ()) for seed in kept for own in by_seed)
    values = samples.figures("choice", rows, samples.of(rows, templates))
    found = values.reshape(len(kept), len(by_seed), -1).transpose(2, 0, 1)
    return found[~np.isnan(found).all(axis=(1, 2))], templates, kept
