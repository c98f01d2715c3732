"""Both ways of summing over the vocabulary, numpy's on the CPU and MLX's elsewhere, against float64."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from scipy.special import logsumexp

from study.lens import logits
from study.lens.logits import cross_entropy, most_likely, summarise

TARGETS = np.array([3, 0, 96, 40, 3])
WEIGHTS = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
"""Of the rows in the sum that is differentiated."""


@pytest.fixture(params=["numpy", "mlx"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(logits, "on_cpu", lambda: request.param == "numpy")
    return str(request.param)


def some_logits(scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, scale, (5, 97)).astype(np.float32)


def losses_and_gradient(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In float64: -log softmax at the targets, and the gradient of its weighted sum."""
    exact = logits.astype(np.float64)
    logp = exact - logsumexp(exact, axis=1, keepdims=True)
    gradient = np.exp(logp)
    gradient[np.arange(5), TARGETS] -= 1
    return -logp[np.arange(5), TARGETS], gradient * WEIGHTS[:, None]


def gradient_of(loss: object, logits: mx.array) -> np.ndarray:
    return np.array(mx.grad(lambda x: (mx.array(WEIGHTS, mx.float32) * loss(x, mx.array(TARGETS))).sum())(logits))  # type: ignore[operator]


def test_the_cross_entropy_and_its_gradient_equal_numpys_in_float64_and_mlxs(way: str) -> None:
    logits = some_logits()
    losses, gradient = losses_and_gradient(logits)
    ours = cross_entropy(mx.array(logits), mx.array(TARGETS))
    np.testing.assert_allclose(ours, losses, rtol=1e-5)
    np.testing.assert_allclose(ours, nn.losses.cross_entropy(mx.array(logits), mx.array(TARGETS)), rtol=1e-5)
    own = gradient_of(cross_entropy, mx.array(logits))
    np.testing.assert_allclose(own, gradient, atol=1e-6)
    np.testing.assert_allclose(own, gradient_of(nn.losses.cross_entropy, mx.array(logits)), atol=1e-6)


def test_the_gradient_goes_on_into_what_made_the_logits(way: str) -> None:
    states, head = np.random.default_rng(1).normal(size=(5, 8)), np.random.default_rng(2).normal(size=(97, 8))
    _, gradient = losses_and_gradient((states @ head.T).astype(np.float32))

    def loss(x: mx.array, targets: mx.array) -> mx.array:
        return cross_entropy(x @ mx.array(head, mx.float32).T, targets)

    np.testing.assert_allclose(gradient_of(loss, mx.array(states, mx.float32)), gradient @ head, atol=2e-5)


@pytest.mark.parametrize("lowest", [-1e4, 0.0])
def test_logits_of_ten_thousand_overflow_nothing(way: str, lowest: float) -> None:
    logits = np.full((5, 97), lowest, np.float32)
    logits[np.arange(5), [3, 1, 96, 40, 4]] = 1e4
    losses, gradient = losses_and_gradient(logits)
    assert losses.max() >= 1e4
    np.testing.assert_allclose(cross_entropy(mx.array(logits), mx.array(TARGETS)), losses, rtol=1e-6)
    np.testing.assert_allclose(gradient_of(cross_entropy, mx.array(logits)), gradient, atol=1e-6)
    totals, _ = summarise(mx.array(logits), TARGETS[:, None])
    np.testing.assert_allclose(totals, 1e4, rtol=1e-6)


def test_half_precision_is_summed_in_float32(way: str) -> None:
    half = mx.array(some_logits()).astype(mx.bfloat16)
    losses, gradient = losses_and_gradient(np.array(half.astype(mx.float32)))
    np.testing.assert_allclose(cross_entropy(half, mx.array(TARGETS)), losses, rtol=1e-5)
    given = mx.grad(lambda x: (mx.array(WEIGHTS, mx.float32) * cross_entropy(x, mx.array(TARGETS))).sum())(half)
    assert given.dtype == mx.bfloat16
    np.testing.assert_allclose(given.astype(mx.float32), gradient, rtol=1e-2, atol=1e-6)


def test_logits_that_do_not_lie_together_in_memory_are_read_right(way: str) -> None:
    wide = np.random.default_rng(0).normal(size=(97, 10)).astype(np.float32)
    logits = mx.array(wide).T[::2]
    expected, _ = losses_and_gradient(wide.T[::2])
    np.testing.assert_allclose(cross_entropy(logits, mx.array(TARGETS)), expected, rtol=1e-5)
    totals, _ = summarise(logits, TARGETS[:, None])
    np.testing.assert_allclose(totals, logsumexp(wide.T[::2].astype(np.float64), axis=1), rtol=1e-6)


@pytest.mark.parametrize("scale", [3.0, 3000.0])
def test_totals_equal_scipys_and_ranks_count_the_tokens_above(way: str, scale: float) -> None:
    logits = some_logits(scale)
    logits[:, 50:60] = logits[:, 3:4]  # equals outrank nobody
    tokens = np.stack([TARGETS, np.full(5, 50), logits.argmax(axis=1), logits.argmin(axis=1)], axis=1)
    totals, ranks = summarise(mx.array(logits), tokens)
    np.testing.assert_allclose(totals, logsumexp(logits.astype(np.float64), axis=1), rtol=1e-6)
    counted = [
        [sum(value > row[token] for value in row) for token in own] for row, own in zip(logits, tokens, strict=True)
    ]
    assert ranks.tolist() == counted
    assert ranks[:, 2].tolist() == [0] * 5


def test_a_logit_that_is_not_a_number_reaches_the_loss_of_its_row_alone(way: str) -> None:
    logits = some_logits()
    logits[1, 7] = np.nan
    losses = np.array(cross_entropy(mx.array(logits), mx.array(TARGETS)))
    assert np.isnan(losses).tolist() == [False, True, False, False, False]


def test_many_small_probabilities_are_not_lost_in_the_sum(way: str) -> None:
    logits = np.full((1, 262_144), -9.0, np.float32)
    logits[0, 0] = 8.0
    exact = logsumexp(logits.astype(np.float64), axis=1)
    assert cross_entropy(mx.array(logits), mx.array([0])).item() == pytest.approx(exact[0] - 8, rel=1e-3)
    totals, _ = summarise(mx.array(logits), np.array([[0]]))
    assert totals[0] == pytest.approx(exact[0], abs=2e-6 if way == "numpy" else 2e-5)


def test_the_most_likely_token_is_the_first_of_equals(way: str) -> None:
    logits = some_logits()
    logits[1, [7, 30]] = 99.0
    assert most_likely(mx.array(logits)).tolist() == logits.argmax(axis=1).tolist()
    assert most_likely(mx.array(logits))[1] == 7
