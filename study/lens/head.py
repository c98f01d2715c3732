"""The unembedding of a model of any architecture: its rows, what it is applied to, and other rows in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float, Int

from study.lens.hooks import Lens, LensError
from study.models.quantised import Quantised, rows_of, widths


@dataclass(frozen=True)
class Head:
    """The matrix [vocab, hidden] that gives the logits; made by `head_of`."""

    module: Any
    """The linear layer or embedding that holds it as its `weight`."""
    tied: bool
    """Whether it is the input embedding."""

    def rows(self, ids: Int[mx.array, " n"]) -> Float[mx.array, "n hidden"]:
        """Return rows of the matrix in float32."""
        if isinstance(self.module, Quantised):
            return rows_of(self.module, ids)
        found: mx.array = self.module.weight[ids].astype(mx.float32)
        return found

    def inputs(self, lens: Lens, states: Float[mx.array, "n hidden"]) -> Float[np.ndarray, "n hidden"]:
        """Return what the matrix is applied to where the lens reads hidden states out: the states after the final norm.

        Raises LensError where the model computes its logits without calling the module that holds the matrix.
        """
        seen: list[mx.array] = []
        original = type(self.module)
        call = "as_linear" if isinstance(self.module, nn.Embedding | nn.QuantizedEmbedding) else "__call__"

        def tapped(module: Any, states: mx.array) -> Any:
            seen.append(states)
            return getattr(original, call)(module, states)

        self.module.__class__ = type(original.__name__, (original,), {call: tapped})
        try:
            lens.read_out(states)
        finally:
            self.module.__class__ = original
        if len(seen) != 1:
            raise LensError(f"the unembedding was called {len(seen)} times for one read-out, so its input is not known")
        return np.array(seen[0].astype(mx.float32), np.float64).reshape(states.shape)

    @contextmanager
    def with_rows(self, ids: Int[mx.array, " n"], rows: Float[mx.array, "n hidden"]) -> Iterator[None]:
        """Within the context, the rows of these ids are replaced. Raises LensError where the matrix is quantised, which
        the new rows would not survive."""
        if isinstance(self.module, Quantised):
            raise LensError("rows of a quantised unembedding cannot be replaced: keep the weights in float32")
        own = self.module.weight
        changed = mx.array(own)
        changed[ids] = rows.astype(own.dtype)
        self.module.weight = changed
        try:
            yield
        finally:
            self.module.weight = own


def head_of(model: nn.Module, width: int, hidden: int) -> Head:
    """Return the unembedding of a model whose logits have this width: a matrix of that shape that is no input embedding
    if there is one, else the input embedding. Raises LensError where there is neither."""
    held = [m for m in model.modules() if isinstance(m.get("weight"), mx.array) and m.weight.ndim == 2]
    found = [m for m in held if _shape(m) == (width, hidden)]
    embeddings = {id(m.weight) for m in found if isinstance(m, nn.Embedding | nn.QuantizedEmbedding)}
    heads = [m for m in found if id(m.weight) not in embeddings]
    if not found:
        raise LensError(f"the model has no matrix of {width} rows and {hidden} columns to be its unembedding")
    return Head((heads or found)[0], not heads)


def _shape(module: Any) -> tuple[int, int]:
    inputs, outputs = widths(module) if isinstance(module, Quantised) else module.weight.shape[::-1]
    return outputs, inputs
