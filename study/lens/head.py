"""The unembedding of a model of any architecture: its rows, what it is applied to, and other rows in their place."""

from collections.abc import Iterator, Sequence
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
        with _tapped([self.module]) as seen:
            lens.read_out(states)
        if len(seen) != 1:
            raise LensError(f"the unembedding was called {len(seen)} times for one read-out, so its input is not known")
        ((_, given),) = seen
        return np.array(given.astype(mx.float32), np.float64).reshape(states.shape)

    @contextmanager
    def with_only(self, ids: Int[mx.array, " n"]) -> Iterator[None]:
        """Within the context, logits are those of these ids alone, in their order, and cost as much less."""
        own = {name: self.module[name] for name in ("weight", "scales", "biases", "bias") if name in self.module}
        self.module.update({name: values[ids] for name, values in own.items()})
        try:
            yield
        finally:
            self.module.update(own)

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


def head_of(model: nn.Module, lens: Lens, states: Float[mx.array, "n hidden"]) -> Head:
    """Return the unembedding of a model: of its matrices [vocab, hidden] the one that gives the logits of the lens.

    Some architectures of mlx-lm hold a matrix of that shape which they never use: helium builds a head beside a tied
    embedding. Raises LensError where there is none, or where there are several and none of them is seen to be used.
    """
    width, hidden = lens.vocabulary(states), states.shape[-1]
    held = [m for m in model.modules() if isinstance(m.get("weight"), mx.array) and m.weight.ndim == 2]
    found = [m for m in held if _shape(m) == (width, hidden)]
    if not found:
        raise LensError(f"the model has no matrix of {width} rows and {hidden} columns to be its unembedding")
    with _tapped(found) as seen:
        lens.read_out(states)
    used = [module for module, _ in seen] or found
    embeddings = {id(m.weight) for m in found if isinstance(m, nn.Embedding | nn.QuantizedEmbedding)}
    if len({id(module.weight) for module in used}) > 1:
        raise LensError(
            f"the model has {len(used)} matrices of {width} rows and {hidden} columns, and which of them is its "
            "unembedding is not seen"
        )
    return Head(used[0], id(used[0].weight) in embeddings)


@contextmanager
def _tapped(modules: Sequence[Any]) -> Iterator[list[tuple[Any, mx.array]]]:
    """Within the context, note each of the modules that is applied to hidden states, with these."""
    seen: list[tuple[Any, mx.array]] = []
    originals = [type(module) for module in modules]
    for module, original in zip(modules, originals, strict=True):
        module.__class__ = _tap(original, seen)
    try:
        yield seen
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.__class__ = original


def _tap(original: Any, seen: list[tuple[Any, mx.array]]) -> Any:
    call = "as_linear" if issubclass(original, nn.Embedding | nn.QuantizedEmbedding) else "__call__"

    def tapped(module: Any, states: mx.array) -> Any:
        seen.append((module, states))
        return getattr(original, call)(module, states)

    return type(original.__name__, (original,), {call: tapped})


def _shape(module: Any) -> tuple[int, int]:
    inputs, outputs = widths(module) if isinstance(module, Quantised) else module.weight.shape[::-1]
    return outputs, inputs
