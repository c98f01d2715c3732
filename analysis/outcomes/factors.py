"""Of a sample of small models: whether architectures of one design read more than others."""

import math

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from analysis.data.results import Results
from analysis.outcomes.sample import learned
from analysis.statistics.intervals import Interval, bounds
from study.config.designs import CONTRASTS, DESIGNS

FACTORS = [
    *("contrast", "tier", "with_it", "without_it", "area_with", "area_without"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
]
ALL_TIERS = "all"
SAME = 1e-9
"""Standard error of a difference of areas below which they are equal up to rounding."""
FEWEST = 3
"""Architectures on either side below which nothing is compared."""


def factors(results: Results, areas: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each contrast of designs and tier, and for all tiers together; empty without a sample.

    An architecture counts once: the mean of its areas over models and seeds, of those that learned their task; for all
    tiers together the mean over tiers, of the architectures that have every tier. The difference is Welch's (1947),
    with its interval. `p_holm` is corrected for the number of contrasts for all tiers together, and for all contrasts
    and tiers for single ones (Holm 1979).
    """
    known = learned(areas)
    known = known[known["architecture"].isin(list(DESIGNS))] if len(known) else known
    if known.empty:
        return pd.DataFrame(columns=FACTORS)
    table = known.pivot_table(index="architecture", columns="tier", values="area", sort=False)
    table[ALL_TIERS] = table.mean(axis=1, skipna=False)
    rows = []
    for name, contrast in CONTRASTS.items():
        having = np.array([contrast.has(DESIGNS[one]) for one in table.index])
        for tier, column in table.items():
            own, others = (column[side].dropna().to_numpy(float) for side in (having, ~having))
            about = {"contrast": name, "tier": tier, "with_it": len(own), "without_it": len(others)}
            rows.append({**about, **_welch(own, others, results.decisions.confidence)})
    frame = pd.DataFrame(rows).reindex(columns=FACTORS)
    for family in (frame["tier"] == ALL_TIERS, frame["tier"] != ALL_TIERS):
        tested = family & frame["p"].notna()
        if tested.any():
            frame.loc[tested, "p_holm"] = multipletests(frame.loc[tested, "p"], method="holm")[1]
    return frame


def _welch(having: np.ndarray, others: np.ndarray, confidence: float) -> dict[str, float]:
    means = {
        f"area_{name}": float(side.mean()) if len(side) else math.nan
        for name, side in (("with", having), ("without", others))
    }
    if min(len(having), len(others)) < FEWEST:
        return means
    difference = means["area_with"] - means["area_without"]
    both = CompareMeans(DescrStatsW(having), DescrStatsW(others))
    if both.std_meandiff_separatevar < SAME:  # nothing to test with: all at the ceiling
        return {**means, "difference": difference}
    low, high = both.tconfint_diff(1 - confidence, usevar="unequal")
    _, p, _ = both.ttest_ind(usevar="unequal")
    return {**means, **bounds("difference", Interval(difference, float(low), float(high))), "p": float(p)}
