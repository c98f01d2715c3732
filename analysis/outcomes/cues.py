"""Choice accuracy by what tells the operations apart in a template: its operator or noun, or the frame of a story."""

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.terms import ARITHMETIC
from analysis.outcomes.fit import has_fitted
from study.config.wordings import cues_of

SERIES = ["model", "pair", "weight", "wordings", "layer", "depth"]
COLUMNS = [*SERIES, "tier", "cue", "templates", "seeds", "choice", "order"]


def cues(results: Results) -> pd.DataFrame:
    """Return a row for each series of plain cells that differ in their seed alone, tier of arithmetic and cue: means
    over templates and seeds, on the templates that no training saw where a tier has some. Tiers of one cue are left
    out."""
    cells = [cell for cell in results.plain if cell.finished and has_fitted(results, cell)]
    if results.terms is not ARITHMETIC or not cells:
        return pd.DataFrame(columns=COLUMNS)
    series: dict[tuple[object, ...], list[int]] = {}
    for number, cell in enumerate(cells):
        key = (cell.model, cell.pair, cell.weight, "+".join(cell.wordings), cell.layer, cell.depth)
        series.setdefault(key, []).append(number)
    rows = []
    for tier, samples in results.readouts.items():
        names = cues_of(tier)
        if len(set(names.values())) < 2:
            continue
        at = samples.rows(cell.trained for cell in cells)
        shown = samples.shown(at)[0]
        choice, order = (samples.figures(name, at, shown) for name in ("choice", "order"))
        cue_of = np.array([names.get(name, "") for name in samples.names], object)
        for about, members in series.items():
            there = shown[members]
            for cue in dict.fromkeys(cue_of[there.any(axis=0)]):
                own = cue_of == cue
                found = there[:, own]
                counts = (int(found.any(axis=0).sum()), int(found.any(axis=1).sum()))
                told = (_mean(values[members][:, own]) for values in (choice, order))
                if cue:
                    rows.append([*about, tier, cue, *counts, *told])
    return pd.DataFrame(rows, columns=COLUMNS)


def _mean(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
