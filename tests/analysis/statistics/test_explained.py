"""What a predictor adds in groups that were left out, where it is known."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from analysis.statistics.explained import PENALTY, Explained, explained

GROUPS, PLACES = 16, 40


def drawn(rng: np.random.Generator, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, predictor and baseline: both the outcome and the predictor have curves of their own in every group."""
    depth = np.tile(np.linspace(-1, 1, 8), PLACES // 8)
    baseline = np.stack(np.broadcast_arrays(depth, depth**2, np.arange(PLACES) // 8 == 1), axis=-1)
    baseline = np.broadcast_to(baseline, (GROUPS, PLACES, 3)).astype(float)

    def curves() -> np.ndarray:
        level, slope = rng.standard_normal((2, GROUPS, 1))
        return level + slope * depth + 0.5 * rng.standard_normal((GROUPS, PLACES))

    predictor = curves() + depth
    outcome = 2 * depth + curves() + effect * predictor
    return outcome, predictor, baseline


def of(data: tuple[np.ndarray, np.ndarray, np.ndarray], permutations: int = 99) -> Explained:
    return explained(*data, permutations, resamples=200, confidence=0.95)


def test_q2_is_that_of_ridge_regressions_on_all_other_groups() -> None:
    outcome, predictor, baseline = drawn(np.random.default_rng(0), effect=0.5)
    both = np.concatenate([baseline, predictor[..., None]], axis=-1)
    flat = both.reshape(-1, 4)
    both = ((flat - flat.mean(axis=0)) / flat.std(axis=0)).reshape(both.shape)

    def error(columns: np.ndarray) -> tuple[float, float]:
        errors, distance = 0.0, 0.0
        for group in range(GROUPS):
            kept = np.arange(GROUPS) != group
            ridge = Ridge(PENALTY).fit(columns[kept].reshape(-1, columns.shape[-1]), outcome[kept].ravel())
            errors += ((outcome[group] - ridge.predict(columns[group])) ** 2).sum()
            distance += ((outcome[group] - outcome[kept].mean()) ** 2).sum()
        return errors, distance

    found = of((outcome, predictor, baseline))
    (base, distance), (added, _) = error(both[..., :3]), error(both)
    assert found.baseline == pytest.approx(1 - base / distance, abs=1e-9)
    assert found.increment.estimate == pytest.approx((base - added) / distance, abs=1e-9)


def test_without_an_effect_five_percent_are_below_five_percent() -> None:
    rng = np.random.default_rng(1)
    found = [of(drawn(rng), permutations=79).p for _ in range(200)]
    # Four standard errors of a share of 5 % in 200.
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)
    assert 0.4 < np.mean(found) < 0.6


def test_a_planted_effect_is_found_and_its_interval_lies_above_zero() -> None:
    rng = np.random.default_rng(2)
    found = [of(drawn(rng, effect=1.0), permutations=199) for _ in range(20)]
    assert np.mean([one.p <= 0.05 for one in found]) >= 0.9
    assert np.mean([one.increment.low > 0 for one in found]) >= 0.9


def test_a_predictor_that_is_the_same_everywhere_adds_nothing() -> None:
    outcome, predictor, baseline = drawn(np.random.default_rng(3))
    found = of((outcome, np.ones_like(predictor), baseline))
    assert found.increment.estimate == pytest.approx(0, abs=1e-12)
    assert found.p == 1
