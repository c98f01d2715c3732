"""The logit lens through a model's own code, for any mlx-lm architecture whose blocks pass on one hidden state.

Within the context of `attached`, each block has a subclass that can record, edit, skip or inject hidden states. To
read a hidden state out, all blocks are skipped and the state is injected instead of their output, so that the model's
own final norm, unembedding, scale and soft-cap apply (logit lens: nostalgebraist, 2020). Whatever a block returns in
addition to the state, such as keys and values that later blocks share, is passed on unchanged.
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

from study.lens.translators import Translators

Edit = Callable[[mx.array], mx.array]
"""A function that maps a block's output [rows, seq, hidden] to what the next block gets."""


class LensError(Exception):
    """The logit lens cannot read the blocks of the architecture."""


class Lens:
    """Reads hidden states of one model and the logits that they give; made by `attached`."""

    def __init__(self, model: nn.Module, translators: Translators | None) -> None:
        self._model, self._translators = model, translators
        self._states: list[mx.array] = []
        self.beside = [0] * len(model.layers)
        """For each block, the number of values that it returned in addition to its state when it last ran."""
        self._injected: mx.array | None = None
        self._rows, self._copies, self._shared = 1, 1, 0
        self._edits: Mapping[int, Edit] = {}
        self._unmasked = False
        self.blocks = len(model.layers)
        self.takes_masks = all("mask" in inspect.signature(type(block).__call__).parameters for block in model.layers)
        """Whether every block takes an attention mask as an argument."""

    def hidden(
        self,
        ids: Int[mx.array, "batch seq"],
        copies: int = 1,
        shared: int = 0,
        edits: Mapping[int, Edit] | None = None,
        unmasked: bool = False,
    ) -> list[Float[mx.array, "rows seq hidden"]]:
        """Return the hidden states after every block. Lazy: a block that nothing depends on is never computed.

        With several copies, the blocks from `shared` on get the batch that many times, one copy after the other: the
        cells of a stack differ only there, and the blocks below are computed once. `edits` change, by block, what the
        next block gets, not what is returned here. `unmasked`: the blocks get no attention mask. Raises LensError where
        the blocks do not each return one state [rows, seq, hidden].
        """
        self._states, self._edits, self._unmasked = [], edits or {}, unmasked
        self._rows, self._copies, self._shared = len(ids), copies, shared
        self._model(ids)
        states, self._states, self._edits, self._unmasked = self._states, [], {}, False
        if len(states) != self.blocks:
            raise LensError(f"{self.blocks} blocks gave {len(states)} hidden states: the lens needs one of each block")
        return states

    def translated(self, states: Float[mx.array, "n hidden"], layer: int) -> Float[mx.array, "n hidden"]:
        """Return what the lens reads of states after a block: the states themselves by the logit lens."""
        return self._translators.at_layer(states, layer) if self._translators else states

    def translated_all(self, states: Float[mx.array, "n blocks hidden"]) -> Float[mx.array, "n blocks hidden"]:
        """Return what the lens reads of states after every block."""
        return self._translators(states) if self._translators else states

    def read_out(self, states: Float[mx.array, "n hidden"]) -> Float[mx.array, "n vocab"]:
        """Return the logits of hidden states from `hidden`, or of what `translated` makes of them, as if each were the
        output of the last block."""
        self._injected = states[None]
        try:
            logits: mx.array = self._model(mx.zeros((1, states.shape[0]), dtype=mx.int32))
        finally:
            self._injected = None
        return logits.squeeze(0)  # not logits[0], whose gradient would be scattered

    def vocabulary(self, states: Float[mx.array, "n hidden"]) -> int:
        """Return the width of the logits of such states; no logits are computed."""
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
        """Repeat an argument of a block for every copy of the batch, if each row has its own value, as in the state."""
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
    """Within the context, the input embedding replaces the unembedding. Yields False, and replaces nothing, if tied."""
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
def attached(model: nn.Module, translators: Translators | None = None) -> Iterator[Lens]:
    """Yield a Lens on `model`, which after the context is as it was before: the logit lens where no translators are
    given."""
    lens = Lens(model, translators)
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
    """Return the states at pairs of row and position."""
    return states[rows, positions]


def gap_at_last_layer(model: nn.Module, ids: Int[mx.array, "batch seq"]) -> float:
    """Return max |lens of the last block - logits| / (max - min of the logits), which is 0 up to rounding."""
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
