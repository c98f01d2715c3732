"""The Jacobian lens: by how much a hidden state moves the last block's output, on average over texts and positions.

Gurnee et al. 2026 (arXiv 2607.15495, section A.7): J of layer L is the mean, over texts and positions t, of the sum
over positions t' from t on of d h_last[t'] / d h_L[t], and the lens reads J h with the model's own norm and head. J is
exact for its texts: which texts these are is the only source of error.
"""

import json
import math
from collections.abc import Callable
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float, Int

from study.config.lenses import LensFitting
from study.lens.hooks import Edit, Lens, attached
from study.lens.texts import Texts
from study.lens.translators import Translators

ROWS = 2048
"""Tokens whose gradients are computed at a time, one output dimension and text after the other."""


def fit_jacobian(
    model: nn.Module, texts: Texts, settings: LensFitting, on_part: Callable[[float], None] = lambda part: None
) -> Translators:
    """Return the Jacobian lens of a model; that of the last block is the identity.

    `about` has, for every block, the standard error of the mean over texts relative to the Jacobian, in Frobenius
    norms, by the difference of the means over every other text and over the others. Positions are those after the first
    `skipped` and before the last of the first `jacobian_tokens`. `on_part` is called with the share that is done.
    Raises LensError where the lens cannot read the architecture.
    """
    ids = mx.array(texts.ids[: settings.jacobian_texts, : settings.jacobian_tokens])
    used = mx.arange(ids.shape[1])
    used = ((used >= settings.skipped) & (used < ids.shape[1] - 1)).astype(mx.float32)
    with attached(model) as lens:
        hidden, blocks = lens.hidden(ids)[-1].shape[-1], lens.blocks
        at_once = max(1, ROWS // ids.size)
        parts = []
        for start in range(0, hidden, at_once):
            outputs = mx.arange(start, min(start + at_once, hidden))
            parts.append(_rows(partial(_row, lens, ids, used, hidden), outputs))
            mx.eval(parts[-1])
            on_part(min(start + at_once, hidden) / hidden)
    halves = mx.concatenate(parts).transpose(1, 2, 0, 3)  # [halves, blocks - 1, hidden (output), hidden (input)]
    odd = len(ids) // 2
    even = len(ids) - odd
    mean = (even * halves[0] + odd * halves[1]) / len(ids)
    # The means of two parts differ by sigma * sqrt(1/even + 1/odd), and the mean of all has sigma / sqrt(texts).
    error = _norms(halves[0] - halves[1]) * math.sqrt(even * odd) / len(ids) / _norms(mean)
    about = {
        "text": texts.source,
        "texts": str(len(ids)),
        "tokens": str(ids.shape[1]),
        "relative_error": json.dumps([*np.array(error).round(4).tolist(), 0.0]),
    }
    maps = mx.concatenate([mean, mx.eye(hidden)[None]])
    mx.eval(maps)
    return Translators("jacobian", maps, mx.zeros((blocks, hidden)), about)


def _rows(row: Callable[[mx.array], mx.array], outputs: Int[mx.array, " n"]) -> Float[mx.array, "n 2 layers hidden"]:
    """Return the rows of several output dimensions, side by side over one forward pass where MLX can do that."""
    try:
        rows: mx.array = mx.vmap(row)(outputs)
    except ValueError:  # MLX 0.32.4 has none of the product of experts: findings/mlx-no-vmap-of-experts.sh
        rows = mx.stack([row(output) for output in outputs])
    return rows


def _row(
    lens: Lens, ids: Int[mx.array, "texts tokens"], used: Float[mx.array, " tokens"], hidden: int, output: mx.array
) -> Float[mx.array, "2 layers hidden"]:
    """Return the row of one output dimension at every layer below the last, over every other text and the others."""

    def last(*added: mx.array) -> mx.array:
        edits: dict[int, Edit] = {layer: partial(mx.add, one) for layer, one in enumerate(added)}
        return lens.hidden(ids, edits=edits)[-1]

    asked = (mx.arange(hidden) == output).astype(mx.float32) * used[:, None]
    shape = (*ids.shape, hidden)
    nothing = [mx.zeros(shape)] * (lens.blocks - 1)
    _, gradients = mx.vjp(last, nothing, [mx.broadcast_to(asked, shape)])
    of_texts = [(one * used[:, None]).sum(axis=1) / used.sum() for one in gradients]
    return mx.stack([mx.stack([one[half::2].mean(axis=0) for one in of_texts]) for half in (0, 1)])


def _norms(matrices: Float[mx.array, "layers out in"]) -> Float[mx.array, " layers"]:
    return mx.sqrt((matrices**2).sum(axis=2).sum(axis=1))
