"""Whether the model still computes: answer accuracy at every stage."""

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.samples import mean_of_rows
from analysis.data.units import PLACE, place
from analysis.statistics.intervals import columns, levels

ACCURACY = [*PLACE, "stage", "tier", "prompts", "samples", "right", "right_low", "right_high", "number_right", "nll"]
STAGES = {"reference": ("baseline", "stage1"), "cell": ("stage2",)}


def accuracies(results: Results) -> pd.DataFrame:
    """Return a row for each finished evaluation and tier: balanced accuracy with its interval over templates, and mean
    answer NLL in nats."""
    evaluated = [
        (unit, stage) for unit in results.units.values() if unit.finished for stage in STAGES.get(unit.kind, ())
    ]
    about = pd.DataFrame([{**place(unit), "stage": stage} for unit, stage in evaluated])
    parts = [pd.DataFrame(columns=ACCURACY)]
    for tier, samples in results.answered.items():
        rows = samples.rows((unit.id, stage) for unit, stage in evaluated)
        there = samples.of(rows)
        kept = np.flatnonzero(there.any(axis=1))
        rows, there = rows[kept], there[kept]
        right, number, nll = (samples.figures(name, rows, there) for name in ("right", "number_right", "nll"))
        found = {
            "tier": tier,
            "prompts": samples.prompts[rows].sum(axis=1),
            "samples": there.sum(axis=1),
            **columns("right", levels(right, results.decisions.confidence)),
            "number_right": mean_of_rows(number),
            "nll": mean_of_rows(nll),
        }
        parts.append(pd.DataFrame(found, index=kept).join(about))
    return pd.concat(parts[1:] or parts).sort_index(kind="stable").reset_index(drop=True)[ACCURACY]
