"""Of a sample of small models: what a change in how cells are trained does to choice accuracy, over architectures."""

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from analysis.data.results import Results
from analysis.outcomes.effects import overall
from analysis.outcomes.factors import ALL_TIERS, SAME
from analysis.outcomes.fit import has_fitted
from analysis.outcomes.sample import learned, main_cells
from analysis.statistics.intervals import Interval, bounds
from study.config.arms import arms_that_are

MANIPULATIONS = [
    *("arm", "tier", "pairs", "fitted", "architectures", "models", "depths", "choice", "choice_plain"),
    *("difference", "difference_low", "difference_high", "lowest", "highest", "p", "p_holm"),
]
FEWEST = 3
"""Architectures below which nothing is said of them together."""


def manipulations(results: Results, effects: pd.DataFrame, areas: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each manipulation and tier, and for all tiers together; empty without a sample.

    `difference` is choice accuracy with the manipulation minus that of plain cells, mean over the depths that both
    have. An architecture counts once, as the mean of its models and seeds that learned their task; the interval is
    Student's over architectures. For all tiers together it is the mean over tiers, of architectures that have all; only
    there is a p, corrected for the number of manipulations (Holm 1979). `lowest` and `highest` are architectures'. Of
    the `pairs` of cells, those count of which both `fitted`.
    """
    sample = results.nursery.sample if results.nursery else None
    known = learned(areas)
    if sample is None or known.empty:
        return pd.DataFrame(columns=MANIPULATIONS)
    pairs = set(zip(known["model"], known["pair"], strict=True))
    rows = []
    for arm in arms_that_are("manipulation"):
        found = overall(effects, f"plain against {arm}")
        found = found[found["weight"] == results.shown_weight]
        found = found[[place in pairs for place in zip(found["model"], found["pair"], strict=True)]]
        if found.empty:
            continue
        counts = dict(zip(("pairs", "fitted"), _pairs(results, arm, pairs), strict=True))
        found = found.assign(architecture=[sample.models[model].architecture for model in found["model"]])
        for tier, own in {**dict(list(found.groupby("tier", sort=False))), ALL_TIERS: found}.items():
            told = _told(own, complete=found["tier"].nunique() if tier == ALL_TIERS else 1, results=results)
            rows.append({"arm": arm, "tier": tier, **counts, "depths": found["depths"].max(), **told})
    frame = pd.DataFrame(rows).reindex(columns=MANIPULATIONS)
    frame.loc[frame["tier"] != ALL_TIERS, "p"] = np.nan
    tested = frame["p"].notna()
    if tested.any():
        frame.loc[tested, "p_holm"] = multipletests(frame.loc[tested, "p"], method="holm")[1]
    return frame


def _pairs(results: Results, arm: str, known: set[tuple[str, str]]) -> tuple[int, int]:
    """How many finished cells of an arm have a plain one beside them, and of how many both fitted."""
    pairs = [
        (plain, cell)
        for plain in main_cells(results)
        if plain.finished and (plain.model, plain.pair) in known
        for cell in results.partners(plain, arm=arm)
    ]
    return len(pairs), sum(has_fitted(results, plain) and has_fitted(results, cell) for plain, cell in pairs)


def _told(own: pd.DataFrame, complete: int, results: Results) -> dict[str, float]:
    """The mean over the architectures that have so many tiers."""
    by_tier = own.groupby(["architecture", "tier"])[["difference", "value", "value_beside"]].mean()
    whole = by_tier.groupby("architecture").filter(lambda rows: len(rows) == complete)
    means = whole.groupby("architecture").mean()
    # Differences of the frame of effects are plain minus manipulated.
    differences = -means["difference"].to_numpy(float)
    kept = own[own["architecture"].isin(means.index)]
    about: dict[str, float] = {"architectures": len(means), "models": kept["model"].nunique()}
    if len(means) < FEWEST:
        return about
    described = DescrStatsW(differences)
    low, high = described.tconfint_mean(1 - results.decisions.confidence)
    # Where all are the same, at the ceiling, there is nothing to test with.
    p = described.ttest_mean(0.0)[1] if described.std_mean > SAME else 1.0
    return {
        **about,
        "choice": float(means["value_beside"].mean()),
        "choice_plain": float(means["value"].mean()),
        **bounds("difference", Interval(float(described.mean), float(low), float(high))),
        "lowest": float(differences.min()),
        "highest": float(differences.max()),
        "p": float(p),
    }
