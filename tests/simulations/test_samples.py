"""Samples are drawn with the variances that they are said to have, and what is planted is found."""

import numpy as np
import pandas as pd
import pytest

from analysis.statistics.variance import COMPONENTS, components
from simulations.samples import EFFECTS, EXPLAINS, areas_of_pilot, measured, of_factors, of_predictors, tables

SIZES = dict(zip(COMPONENTS, (0.2, 0.01, 0.002, 0.003, 0.02, 0.005, 0.01), strict=True))


def test_tables_have_the_components_that_they_are_drawn_with() -> None:
    random = np.random.default_rng(0)
    found = [components(tables(SIZES, (40, 2, 2, 12), random)) for _ in range(60)]
    for name, size in SIZES.items():
        values = np.array([one[name] for one in found])
        assert values.mean() == pytest.approx(size, abs=4 * values.std() / np.sqrt(len(values)))


def test_the_components_of_a_pilot_are_those_of_its_areas() -> None:
    table = tables(SIZES, (30, 1, 2, 10), np.random.default_rng(1))
    rows = [
        {"architecture": f"a{a}", "model": f"a{a}-4", "pair": "x/y", "seed": s, "tier": f"t{t}", "learned": True}
        | {"area": table[a, 0, s, t]}
        for a, s, t in np.ndindex(30, 2, 10)
    ]
    found, expected = measured(pd.DataFrame(rows)), components(table)
    for name in COMPONENTS:
        assert found[name] == pytest.approx(0.0 if np.isnan(expected[name]) else max(0.0, expected[name]))


def test_the_areas_of_the_pilot_are_those_of_its_twelve_models_with_both_seeds() -> None:
    areas = areas_of_pilot()
    assert areas["architecture"].nunique() == areas["model"].nunique() == 12
    assert (areas.groupby(["model", "tier"])["seed"].nunique() == 2).all()
    assert areas["tier"].nunique() == 15


@pytest.mark.slow
def test_the_larger_what_is_planted_the_more_often_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.samples.DRAWS", 40)
    monkeypatch.setattr("simulations.samples.PERMUTATIONS", 199)
    shape = (16, 1, 2, 6)
    for rates, planted in (
        (of_factors(SIZES, shape, np.random.default_rng(0)), EFFECTS),
        (of_predictors(SIZES, shape, np.random.default_rng(0)), EXPLAINS),
    ):
        assert len(rates) == len(planted)
        assert rates[0] <= 0.2  # 5 %, and three standard errors
        assert rates[-1] > rates[0] + 0.3
