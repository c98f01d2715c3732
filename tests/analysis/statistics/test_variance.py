"""Variance components, where what they are is known."""

import math

import numpy as np
import pytest

from analysis.statistics.variance import COMPONENTS, components, shares

TRUE = {
    **dict(zip(COMPONENTS[:4], (0.04, 0.0144, 0.0064, 0.0036), strict=True)),
    **dict(zip(COMPONENTS[4:], (0.01, 0.0025, 0.0049), strict=True)),
}


def drawn(rng: np.random.Generator, shape: tuple[int, int, int, int], **changed: float) -> np.ndarray:
    """A table with components of these sizes."""
    a, m, s, t = shape
    sizes = {**TRUE, **{name.replace("_x_", " x "): value for name, value in changed.items()}}
    parts = {
        "tier": (1, 1, 1, t),
        "architecture": (a, 1, 1, 1),
        "model": (a, m, 1, 1),
        "seed": (a, m, s, 1),
        "architecture x tier": (a, 1, 1, t),
        "model x tier": (a, m, 1, t),
        "rest": shape,
    }
    total = np.zeros(shape)
    for name, of in parts.items():
        total = total + math.sqrt(sizes[name]) * rng.standard_normal(of)
    return 0.5 + total


def test_estimates_are_right_on_average() -> None:
    rng = np.random.default_rng(1)
    found = [components(drawn(rng, (8, 3, 2, 6))) for _ in range(600)]
    for name in COMPONENTS:
        values = np.array([one[name] for one in found])
        error = values.std() / math.sqrt(len(values))
        assert values.mean() == pytest.approx(TRUE[name], abs=4 * error), name


def test_a_component_that_is_not_there_is_about_zero_and_shares_are_its_part() -> None:
    rng = np.random.default_rng(2)
    values = drawn(rng, (40, 3, 2, 12), architecture=0.0, architecture_x_tier=0.0)
    assert abs(components(values)["architecture"]) < 0.002
    told = shares(values, 0.95, 300)
    assert sum(one.estimate for one in told.values()) == pytest.approx(1)
    assert told["architecture"].estimate < 0.05
    assert told["tier"].estimate > 0.2
    assert all(one.low <= one.estimate + 0.05 and one.high >= one.estimate - 0.05 for one in told.values())


@pytest.mark.parametrize(
    ("shape", "lacking"),
    [
        ((12, 1, 2, 6), {"model", "model x tier"}),
        ((12, 3, 1, 6), {"seed"}),
        ((12, 1, 1, 6), {"model", "seed", "architecture x tier"}),
    ],
)
def test_what_one_level_cannot_tell_is_not_told(shape: tuple[int, int, int, int], lacking: set[str]) -> None:
    told = components(drawn(np.random.default_rng(3), shape))
    assert lacking <= {name for name, value in told.items() if math.isnan(value)}
    assert not math.isnan(told["architecture"])
    assert not math.isnan(told["tier"])


def test_intervals_of_shares_hold_the_truth() -> None:
    """Over new architectures, for the same tiers: 95 % intervals of the share of architectures and their tiers."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(60):
        values = drawn(rng, (16, 3, 2, 8), tier=0.0)
        told = shares(values, 0.95, 200)["architecture"]
        total = sum(TRUE.values()) - TRUE["tier"]
        held += told.low <= TRUE["architecture"] / total <= told.high
    assert held >= 48  # percentile intervals of few clusters are a little short
