"""The logit lens through a model's own code, for any mlx-lm architecture whose blocks hand on one hidden state.

Blocks are given a subclass that can record, edit, skip or inject hidden states; it is taken off again on leaving the
context. To read a hidden state out, all blocks are skipped and the state is injected in their place, so
that the model's own final norm, head, scale and soft-cap apply (logit lens: nostalgebraist, 2020). What a block
returns beside the state, such as keys and values that later blocks share, is handed on as it is.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from jaxtyping import Float, Int
from mlx.utils import tree_map

Edit = Callable[[mx.array], mx.array]
"""What goes on from a block instead of its output [rows, seq, hidden]."""


class LensError(Exception):
    """An architecture whose blocks the lens cannot read."""


class Lens:
    """Hidden states and read-outs of one model; made by `attached`."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._states: list[mx.array] = []
        self.beside = [0] * len(model.layers)
        """Of each block, how much it returned beside its state when it last ran."""
        self._injected: mx.array | None = None
        self._rows, self._copies, self._shared = 1, 1, 0
        self._edits: Mapping[int, Edit] = {}
        self._unmasked = False
        self.blocks = len(model.layers)
        self.takes_masks = all("mask" in inspect.signature(type(block).__call__).parameters for block in model.layers)
        """Whether every block has an attention mask as an argument."""

    def hidden(
        self,
        ids: Int[mx.array, "batch seq"],
        copies: int = 1,
        shared: int = 0,
        edits: Mapping[int, Edit] | None = None,
        unmasked: bool = False,
    ) -> list[Float[mx.array, "rows seq hidden"]]:
        """The output of every block. Lazy: a block that nothing depends on is never computed.

        With several copies, the blocks from `shared` on see the batch that many times over, one copy after the other:
        a stack of cells differs only there, and what lies below is computed once. `edits` change by block what goes
        on from it, not what is returned of it. `unmasked`: the blocks are given no attention mask.
        """
        self._states, self._edits, self._unmasked = [], edits or {}, unmasked
        self._rows, self._copies, self._shared = len(ids), copies, shared
        self._model(ids)
        states, self._states, self._edits, self._unmasked = self._states, [], {}, False
        if len(states) != self.blocks:
            raise LensError(f"{self.blocks} blocks gave {len(states)} hidden states: the model runs them otherwise")
        return states

    def read_out(self, states: Float[mx.array, "n hidden"]) -> Float[mx.array, "n vocab"]:
        """Logits of hidden states from `hidden`, as if each stood behind the last block."""
        self._injected = states[None]
        try:
            logits: mx.array = self._model(mx.zeros((1, states.shape[0]), dtype=mx.int32))
        finally:
            self._injected = None
        return logits.squeeze(0)  # not logits[0], whose gradient would be scattered

    def vocabulary(self, states: Float[mx.array, "n hidden"]) -> int:
        """Width of the logits of such states; nothing is computed for it."""
        return int(self.read_out(states[:1]).shape[-1])

    def _visit(self, block: int, run: Callable[..., Any], arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        if self._injected is not None:
            return (self._injected, *[None] * self.beside[block]) if self.beside[block] else self._injected
        if self._copies > 1 and block >= self._shared:
            arguments = tree_map(self._copied, arguments)
        positional, named = _without_mask(run, *arguments) if self._unmasked else arguments
        returned = run(*positional, **named)
        state, *beside = returned if isinstance(returned, tuple) else (returned,)
        if not isinstance(state, mx.array) or state.ndim != 3:
            what = list(state.shape) if isinstance(state, mx.array) else type(state).__name__
            raise LensError(f"a block of {type(self._model).__module__} returns {what}, not [rows, seq, hidden]")
        self._states.append(state)
        self.beside[block] = len(beside)
        goes_on = self._edits[block](state) if block in self._edits else state
        return (goes_on, *beside) if beside else goes_on

    def _copied(self, argument: Any) -> Any:
        """An argument of a block for every copy of the batch: the state, and whatever else each row has its own of."""
        # Masks and scales, which the rows have in common, have two dimensions in all of mlx-lm.
        of_rows = isinstance(argument, mx.array) and argument.ndim > 2 and len(argument) == self._rows
        return mx.tile(argument, (self._copies, *[1] * (argument.ndim - 1))) if of_rows else argument


def _without_mask(
    run: Callable[..., Any], positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    bound = inspect.signature(run).bind(*positional, **named)
    bound.arguments["mask"] = None
    return bound.args, bound.kwargs


@contextmanager
def input_embedding_head(model: nn.Module) -> Iterator[bool]:
    """Read out with the input embedding in the place of the head; False, and nothing to replace, where they are one."""
    blocks = {id(module) for block in model.layers for _, module in block.named_modules()}
    outside = [module for _, module in model.named_modules() if id(module) not in blocks]
    embeddings = [m for m in outside if isinstance(m, nn.Embedding | nn.QuantizedEmbedding)]
    found = [
        (head, embedding)
        for head in outside
        for embedding in embeddings
        if isinstance(head, nn.Linear | nn.QuantizedLinear) and head.weight.shape == embedding.weight.shape
    ]
    if not found:
        yield False
        return
    head, embedding = found[-1]
    names = [name for name in ("weight", "scales", "biases") if name in embedding]
    own = {name: head[name] for name in names}
    head.update({name: embedding[name] for name in names})
    try:
        yield True
    finally:
        head.update(own)


@contextmanager
def attached(model: nn.Module) -> Iterator[Lens]:
    """A Lens on `model`; outside the context the model is as it was."""
    lens = Lens(model)
    originals = [type(layer) for layer in model.layers]
    for block, (layer, original) in enumerate(zip(model.layers, originals, strict=True)):
        layer.__class__ = _tapped(original, block, lens)
    try:
        yield lens
    finally:
        for layer, original in zip(model.layers, originals, strict=True):
            layer.__class__ = original


def at(
    states: Float[mx.array, "batch seq hidden"], rows: Int[mx.array, " n"], positions: Int[mx.array, " n"]
) -> Float[mx.array, "n hidden"]:
    """The states at (row, position) pairs."""
    return states[rows, positions]


def gap_at_last_layer(model: nn.Module, ids: Int[mx.array, "batch seq"]) -> float:
    """The largest difference between the last block's lens and the model's logits, over the logits' spread.

    Zero up to rounding for every model whose lens is right.
    """
    logits = model(ids)
    with attached(model) as lens:
        last = lens.hidden(ids)[-1]
        read = lens.read_out(last.reshape(-1, last.shape[-1]))
    gap = mx.abs(read - logits.reshape(read.shape)).max() / (logits.max() - logits.min())
    return float(gap.item())


def _tapped(original: type, block: int, lens: Lens) -> type:
    def call(self: Any, *positional: Any, **named: Any) -> Any:
        return lens._visit(block, partial(original.__call__, self), (positional, named))

    return type(original.__name__, (original,), {"__call__": call})
