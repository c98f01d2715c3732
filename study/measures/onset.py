"""The onset of the class: a light evaluation of all cells of a stack, every few steps of stage 2."""

from collections.abc import Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from study.config.names import Operation
from study.lens.hooks import Lens, at
from study.lens.readout import class_places, read_classes
from study.lens.tokens import Encoded, padded
from study.results.schema import Row
from study.training.adapters import lowest_adapted


class Onset:
    """Collects rows of each cell of a stack, by step, layer and tier, on a small fixed set of held-out prompts."""

    def __init__(
        self,
        model: nn.Module,
        encoded: Sequence[Encoded],
        tokens: Sequence[Mapping[Operation, int] | None],
        every: int,
    ) -> None:
        """`tokens` are the class tokens of each cell, None for a cell that gets no rows. Never evaluates if `every` is
        0."""
        self.rows: list[list[Row]] = [[] for _ in tokens]
        self._model, self._tokens, self._every = model, tokens, every
        self._tiers = np.array([item.prompt.tier for item in encoded])
        self._encoded = encoded
        self._ids = padded([item.prompt_ids for item in encoded])
        self._last = mx.array([len(item.prompt_ids) - 1 for item in encoded])

    def look(self, step: int, lens: Lens, cells: Sequence[int]) -> None:
        """Evaluate the cells that still train, at every `every`-th step; their adapters are on the model in this
        order."""
        if not self._every or step % self._every:
            return
        states = lens.hidden(self._ids, len(cells), lowest_adapted(self._model))
        told = {cell: tokens for cell in cells if (tokens := self._tokens[cell])}
        own = {cell: self._at_last(states, i) for i, cell in enumerate(cells) if cell in told}
        del states  # so that the other positions are freed as soon as the next block is computed
        mx.eval(own)
        for cell, tokens in told.items():
            self.rows[cell] += self._read(lens, step, own[cell], tokens)

    def _at_last(self, states: Sequence[mx.array], place: int) -> mx.array:
        """Return the states at the last token, [blocks, prompts, hidden], of the cell at index `place` of the stack.

        Below the lowest adapter all cells have the same states, and there is one copy of them.
        """
        size = len(self._last)
        rows = [mx.arange(size) + (place * size if len(state) > size else 0) for state in states]
        return mx.stack([at(state, r, self._last) for state, r in zip(states, rows, strict=True)])

    def _read(self, lens: Lens, step: int, states: mx.array, tokens: Mapping[Operation, int]) -> list[Row]:
        """Return the rows of one cell at a step, from its states as `_at_last` returns them."""
        blocks, size, _ = states.shape
        right = class_places(self._encoded, tokens)
        flat = mx.concatenate([lens.translated(own, layer) for layer, own in enumerate(states)])
        (figures,) = read_classes(lens, flat, [list(tokens.values())], [np.tile(right, blocks)])
        choice, p, margin = (
            values.astype(np.float64).reshape(blocks, size)
            for values in (figures["choice"], np.exp(figures["log_p"]), figures["margin"])
        )
        rows = []
        for tier in dict.fromkeys(self._tiers.tolist()):
            here = self._tiers == tier
            for layer in range(blocks):
                by_class = [choice[layer, here & (right == k)].mean() for k in range(len(tokens))]
                means = {"choice": np.mean(by_class), "p": p[layer, here].mean(), "margin": margin[layer, here].mean()}
                place = {"step": step, "layer": layer, "tier": tier, "prompts": int(here.sum())}
                rows.append({**place, **{name: float(value) for name, value in means.items()}})
        return rows
