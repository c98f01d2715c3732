"""Cross-entropies and ranks over the vocabulary.

Evaluation on the CPU uses numpy, whose exp is many times faster than MLX's there on x86.
"""

import math
from typing import Any

import mlx.core as mx
import numpy as np
from jaxtyping import Float, Int

from study.models.activations import exp, on_cpu

PARTS = 64
"""Number of values that are summed at a time; most vocabularies are padded to a multiple of it."""


def cross_entropy(logits: Float[mx.array, "n vocab"], targets: Int[mx.array, " n"]) -> Float[mx.array, " n"]:
    """Return -log softmax of each row at its target, in nats; differentiable with respect to the logits.

    Lazy, since MLX keeps whatever is evaluated while a gradient is traced in memory, with all its inputs.
    """
    losses: Any = _with_slopes(logits.astype(mx.float32), targets)
    return losses[0]  # type: ignore[no-any-return]


def summarise(
    logits: Float[mx.array, "n vocab"], tokens: Int[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, "n k"]]:
    """Return, for each row, the logsumexp of its logits and the number of tokens that outrank each of k given ones."""
    logits = logits.astype(mx.float32)
    if on_cpu():
        return _summarise_rows(np.array(logits, copy=False), tokens)
    chosen = mx.take_along_axis(logits, mx.array(tokens), axis=1)
    ranks = np.empty_like(tokens)
    for k in range(tokens.shape[1]):
        ranks[:, k] = np.array((logits > chosen[:, k, None]).sum(axis=1))
    top = logits.max(axis=1, keepdims=True)
    return np.array(mx.log(_totals(exp(logits - top))) + top)[:, 0], ranks


def log_sums(logits: Float[mx.array, "n vocab"]) -> Float[np.ndarray, " n"]:
    """Return the logsumexp of each row."""
    return summarise(logits, np.empty((len(logits), 0), int))[0]


def most_likely(logits: Float[mx.array, "n vocab"]) -> Int[np.ndarray, " n"]:
    """Return the token with the largest logit of each row; the first one of equals."""
    if on_cpu():
        first: np.ndarray = np.array(logits.astype(mx.float32), copy=False).argmax(axis=1)
        return first
    return np.array(mx.argmax(logits, axis=1)).astype(np.int64)


def _summarise_rows(values: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`summarise` on the CPU, row by row: a row stays in the processor's cache."""
    row, totals, ranks = np.empty_like(values[0]), np.empty_like(values[:, 0]), np.empty_like(tokens)
    for i, logits in enumerate(values):
        totals[i] = _exponentials(logits, row)
        for k, token in enumerate(tokens[i]):
            ranks[i, k] = np.count_nonzero(logits > logits[token])
    return totals, ranks


def _exponentials(logits: np.ndarray, out: np.ndarray) -> np.float32:
    """Write exp(logits - their maximum) to `out`; return the logsumexp of the logits."""
    top = logits.max()
    np.exp(np.subtract(logits, top, out=out), out=out)
    total: np.float32 = top + np.log(out.sum())
    return total


def _totals(values: Float[mx.array, "n vocab"]) -> Float[mx.array, "n 1"]:
    """Return the sum of each row, a few values at a time: MLX adds one by one, and large totals lose small values."""
    while values.shape[1] > PARTS and (part := math.gcd(values.shape[1], PARTS)) > 1:
        values = values.reshape(len(values), -1, part).sum(axis=2)
    return values.sum(axis=1, keepdims=True)


@mx.custom_function
def _with_slopes(logits: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """Return the loss of each row, and its gradient by the logits: softmax - one-hot."""
    top = logits.max(axis=1, keepdims=True)
    exponentials = exp(logits - top)
    totals = _totals(exponentials)
    chosen = mx.take_along_axis(logits, targets[:, None], axis=1)
    slopes = (exponentials / totals).at[mx.arange(len(logits)), targets].add(-1.0)
    return (mx.log(totals) + top - chosen)[:, 0], slopes


def _gradient(
    primals: tuple[mx.array, mx.array], cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
) -> tuple[mx.array, mx.array]:
    return outputs[1] * cotangents[0][:, None], mx.zeros_like(primals[1])


_with_slopes.vjp(_gradient)
