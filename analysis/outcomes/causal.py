"""Whether the network uses its classifier: what changes when the class direction is swapped at the trained layer."""

import math

import numpy as np
import pandas as pd

from analysis.data.results import PLACE, Results, StudyUnit, place
from analysis.data.statistics import Floats, bounds, clustered_mean, paired_mean
from analysis.outcomes.emergence import emergent_where_trained

COLUMNS = [
    *(*PLACE, "tier", "prompts", "right_none", "right_swap", "right_random"),
    *(f"{name}{end}" for name in ("answers_moved", "nll_swap", "nll_random") for end in ("", "_low", "_high")),
    *("towards_other", "towards_other_low", "towards_other_high", "carried", "carried_random"),
]


def effects(results: Results, judged: pd.DataFrame) -> pd.DataFrame:
    """One row a plain cell that is emergent on every wording it was trained on, and tier.

    `swap` exchanges the classes' directions at the trained layer, `random` moves the state as far in a random
    direction, `none` leaves it. Everything is paired by prompt; intervals are clustered by operand pair.

    - `answers_moved`: share of prompts whose verdict (right or wrong) changes under the swap, minus that under random.
    - `nll_swap`, `nll_random`: mean change of the right answer's negative log-likelihood against `none`, nats.
    - `towards_other`: mean change of (other operation's answer's NLL - right answer's NLL) under the swap, minus that
      under random, nats. Negative: the swap moves the answer towards the other operation's.
    - `carried`, `carried_random`: share of prompts whose margin at the last layer changes sign; NaN where the trained
      layer is the last.
    """
    emergent = set(emergent_where_trained(judged)["unit"])
    rows = []
    for cell in results.plain:
        if cell.id in emergent:
            causal = results.rows["causal"][cell.id]
            for tier in results.tiers:
                at_tier = causal[causal["tier"] == tier]
                if not at_tier.empty:
                    rows.append(_effects(results, cell, tier, at_tier))
    return pd.DataFrame(rows, columns=COLUMNS)


def _effects(results: Results, cell: StudyUnit, tier: str, rows: pd.DataFrame) -> dict[str, object]:
    decisions = results.decisions
    prompts = rows.drop_duplicates("prompt_id").set_index("prompt_id").sort_index()
    operands = prompts["operands"].to_numpy(str)
    right, nll, other = (_by_intervention(rows, name) for name in ("right", "nll", "other_nll"))
    moved = {name: (right[name] != right["none"]).astype(float) for name in ("swap", "random")}
    lead = {name: other[name] - nll[name] for name in other}
    means = {
        "nll_swap": nll["swap"] - nll["none"],
        "nll_random": nll["random"] - nll["none"],
        "towards_other": (lead["swap"] - lead["none"]) - (lead["random"] - lead["none"]),
    }
    row = {
        **place(cell),
        "tier": tier,
        "prompts": len(prompts),
        **{f"right_{name}": float(values.mean()) for name, values in right.items()},
        **bounds(
            "answers_moved",
            paired_mean(moved["swap"] - moved["random"], operands, decisions.confidence, decisions.resamples),
        ),
        **_carried(results.rows["causal_lens"][cell.id], cell, tier),
    }
    for name, values in means.items():
        row |= bounds(name, clustered_mean(values, operands, decisions.confidence, decisions.resamples))
    return row


def _by_intervention(rows: pd.DataFrame, name: str) -> dict[str, Floats]:
    """A column for each intervention, [prompts] in the order of prompt_id."""
    wide = rows.pivot(index="prompt_id", columns="intervention", values=name).sort_index()
    return {intervention: wide[intervention].to_numpy(float) for intervention in ("none", "swap", "random")}


def _carried(lens: pd.DataFrame, cell: StudyUnit, tier: str) -> dict[str, float]:
    """Share of prompts whose margin at the last layer changes sign, under the swap and under random."""
    rows = lens[(lens["layer"] == cell.blocks - 1) & (lens["tier"] == tier)]
    if rows.empty or cell.layer == cell.blocks - 1:
        return {"carried": math.nan, "carried_random": math.nan}
    sign = {intervention: np.sign(margin) for intervention, margin in _by_intervention(rows, "margin").items()}
    return {
        "carried": float((sign["swap"] != sign["none"]).mean()),
        "carried_random": float((sign["random"] != sign["none"]).mean()),
    }
