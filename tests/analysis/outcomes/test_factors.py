"""Designs of architectures compared, against areas that are known."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.outcomes.factors import ALL_TIERS, FACTORS, factors
from study.config.designs import CONTRASTS, DESIGNS

RESULTS: Any = SimpleNamespace(decisions=SimpleNamespace(confidence=0.95))


def areas(effect: float, architectures: Sequence[str] = tuple(DESIGNS), seed: int = 0) -> pd.DataFrame:
    """Areas of two tiers, higher by `effect` where norms stand after."""
    random = np.random.default_rng(seed)
    rows = [
        {"model": f"{name}-{size}", "architecture": name, "pair": "a/b", "tier": tier, "seed": 0, "learned": True}
        | {"area": 0.3 + effect * (DESIGNS[name].norms != "before") + 0.05 * random.standard_normal()}
        for name in architectures
        for size in range(2)
        for tier in ("one", "two")
    ]
    return pd.DataFrame(rows)


def test_a_difference_is_that_of_the_means_of_architectures_with_welchs_interval() -> None:
    found = areas(0.3)
    table = factors(RESULTS, found)
    assert list(table) == FACTORS
    (row,) = table[(table["contrast"] == "norms") & (table["tier"] == ALL_TIERS)].to_dict("records")
    means = found.groupby("architecture")["area"].mean()
    having = np.array([DESIGNS[name].norms != "before" for name in means.index])
    told = stats.ttest_ind(means[having], means[~having], equal_var=False)
    assert row["difference"] == pytest.approx(means[having].mean() - means[~having].mean())
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(told.confidence_interval(0.95)))
    assert row["p"] == pytest.approx(told.pvalue)
    assert row["p"] < row["p_holm"] <= len(CONTRASTS) * row["p"] + 1e-12
    assert (row["with_it"], row["without_it"]) == (having.sum(), (~having).sum())
    assert row["difference_low"] < 0.3 < row["difference_high"]


def test_without_a_difference_few_samples_find_one_among_all_contrasts() -> None:
    found = [factors(RESULTS, areas(0.0, seed=seed)) for seed in range(100)]
    for single in (False, True):
        shown = sum((table.loc[(table["tier"] != ALL_TIERS) == single, "p_holm"] <= 0.05).any() for table in found)
        assert shown <= 12  # 5 % of 100, and three standard errors


def test_single_tiers_are_corrected_for_all_contrasts_and_tiers() -> None:
    table = factors(RESULTS, areas(0.3))
    single = table[table["tier"] != ALL_TIERS]
    smallest = single.loc[single["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1.0, smallest["p"] * single["p"].notna().sum()))
    constant = factors(RESULTS, areas(0.3).assign(area=1.0))
    assert (constant["difference"] == 0).all()
    assert constant["p"].isna().all()


def test_with_too_few_architectures_there_is_no_difference() -> None:
    table = factors(RESULTS, areas(0.3, ["llama", "qwen3", "gpt2", "olmo2", "mamba2"]))
    assert table["difference"].isna().all()
    assert table["p"].isna().all()
    assert table["area_with"].notna().any()


def test_architectures_that_did_not_learn_or_are_not_known_do_not_count() -> None:
    found = areas(0.3)
    found.loc[found["architecture"] == "olmo2", "learned"] = False
    more = found[found["architecture"] == "llama"].assign(architecture="unheard_of", area=9.0)
    (row,) = (
        factors(RESULTS, pd.concat([found, more])).query("contrast == 'norms' and tier == 'all'").to_dict("records")
    )
    after = sum(design.norms != "before" for design in DESIGNS.values())
    assert (row["with_it"], row["without_it"]) == (after - 1, len(DESIGNS) - after)
    assert factors(RESULTS, found.iloc[:0]).empty
