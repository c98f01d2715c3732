"""All adapters of a stack in one array, for what is done to each of their elements.

An optimiser does a dozen things to each parameter. To one long array that is a dozen operations, to some hundred small
ones it is thousands, whose number and not whose size is what they cost.
"""

from collections.abc import Collection, Mapping
from itertools import accumulate

import mlx.core as mx
import mlx.nn as nn
from jaxtyping import Float
from mlx.utils import tree_flatten, tree_unflatten

ROW = 1024
"""The length of the array is a multiple of this. MLX's sum on the CPU adds one by one, and a small value is lost in a
large total: what is added up in rows, and then over the rows, keeps its digits."""
NAME = "adapters"

Joined = Float[mx.array, "cells n"]
Parted = Mapping[str, Float[mx.array, "cells rows columns"]]
"""By the path in the model."""


class Flat:
    """The parameters that a stacked model trains, joined; the model has them as views of the array."""

    def __init__(self, model: nn.Module) -> None:
        parameters = dict(tree_flatten(model.trainable_parameters()))
        self._model = model
        self._shapes: dict[str, tuple[int, ...]] = {path: value.shape[1:] for path, value in parameters.items()}
        self._ends = list(accumulate(rows * columns for rows, columns in self._shapes.values()))
        self.tree = {NAME: self.joined(parameters)}
        """The array, as optimisers take it: the only one of a tree."""

    @property
    def paths(self) -> Collection[str]:
        """Of the parameters, in the order of the array."""
        return self._shapes.keys()

    def hold(self, joined: Joined) -> None:
        """Let these be the model's parameters."""
        self.tree[NAME] = joined
        self._model.update(tree_unflatten(list(self.parted(joined).items())))

    def joined(self, values: Parted) -> Joined:
        """Values of all parameters in one array, and zeros at its end."""
        parts = [mx.flatten(values[path], 1) for path in self._shapes]
        rest = mx.zeros((len(parts[0]), -self._ends[-1] % ROW))
        return mx.concatenate([*parts, rest], axis=1)

    def parted(self, joined: Joined) -> Parted:
        """The values of the parameters in such an array; none is copied."""
        parts = mx.split(joined, self._ends, axis=1)[:-1]
        return {path: part.reshape(-1, *shape) for (path, shape), part in zip(self._shapes.items(), parts, strict=True)}


def clip_each(gradients: Joined, limit: float) -> tuple[Joined, Float[mx.array, " cells"]]:
    """The gradients of each cell, scaled down to a norm of `limit`; also the norms before."""
    norms = mx.sqrt(mx.square(gradients).reshape(len(gradients), -1, ROW).sum(axis=2).sum(axis=1))
    return gradients * mx.minimum(limit / (norms + 1e-6), 1.0)[:, None], norms
