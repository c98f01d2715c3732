"""Whether the model still computes: answer accuracy at every stage."""

import pandas as pd

from analysis.data.results import PLACE, Results, StudyUnit, place
from analysis.data.samples import of_tier, values_of
from analysis.statistics.intervals import bounds, level

ACCURACY = [*PLACE, "stage", "tier", "prompts", "samples", "right", "right_low", "right_high", "number_right", "nll"]


def accuracies(results: Results) -> pd.DataFrame:
    """Return a row for each finished evaluation and tier: balanced accuracy with its interval over templates, and mean
    answer NLL in nats."""
    rows = []
    for unit in results.units.values():
        if not unit.finished or unit.kind not in ("reference", "cell"):
            continue
        for stage in ("baseline", "stage1") if unit.kind == "reference" else ("stage2",):
            samples = results.answers_by_sample(unit, stage)
            for tier in results.tiers:
                own = of_tier(samples, tier)
                if len(own):
                    rows.append(_accuracy(results, unit, stage, tier, own))
    return pd.DataFrame(rows, columns=ACCURACY)


def _accuracy(results: Results, unit: StudyUnit, stage: str, tier: str, samples: pd.DataFrame) -> dict[str, object]:
    return {
        **place(unit),
        "stage": stage,
        "tier": tier,
        "prompts": int(samples["prompts"].sum()),
        "samples": len(samples),
        **bounds("right", level(values_of(samples, "right"), results.decisions.confidence)),
        "number_right": float(samples["number_right"].mean()),
        "nll": float(samples["nll"].mean()),
    }
