"""All adapters of a stack in one array, for elementwise operations such as those of the optimiser.

An optimiser applies a dozen operations to each parameter. One long array needs a dozen in all, some hundred small
arrays need thousands, and the time depends on the number of operations rather than on their size.
"""

from collections.abc import Collection, Mapping
from itertools import accumulate

import mlx.core as mx
import mlx.nn as nn
from jaxtyping import Float
from mlx.utils import tree_flatten, tree_unflatten

ROW = 1024
"""The length of the array is a multiple of this. MLX's sum on the CPU adds one by one, so that large totals lose small
values; sums over rows of this length, and then over the rows, are precise."""
NAME = "adapters"
"""Name of the array in the tree of parameters that the optimiser gets."""

Joined = Float[mx.array, "cells n"]
Parted = Mapping[str, Float[mx.array, "cells rows columns"]]
"""Arrays of the adapters by their path in the model."""


class Flat:
    """The trained parameters of a stacked model, joined in one array of which the model's parameters are views."""

    def __init__(self, model: nn.Module) -> None:
        parameters = dict(tree_flatten(model.trainable_parameters()))
        self._model = model
        self._shapes: dict[str, tuple[int, ...]] = {path: value.shape[1:] for path, value in parameters.items()}
        self._ends = list(accumulate(rows * columns for rows, columns in self._shapes.values()))
        self.tree = {NAME: self.joined(parameters)}
        """The tree of parameters for the optimiser: the array alone."""

    @property
    def paths(self) -> Collection[str]:
        """The paths of the parameters, in the order of the array."""
        return self._shapes.keys()

    def hold(self, joined: Joined) -> None:
        """Set the model's parameters to these values."""
        self.tree[NAME] = joined
        self._model.update(tree_unflatten(list(self.parted(joined).items())))

    def joined(self, values: Parted) -> Joined:
        """Return the values of all parameters as one array, padded with zeros."""
        parts = [mx.flatten(values[path], 1) for path in self._shapes]
        rest = mx.zeros((len(parts[0]), -self._ends[-1] % ROW))
        return mx.concatenate([*parts, rest], axis=1)

    def parted(self, joined: Joined) -> Parted:
        """Return the values of the parameters in such an array by path, as views."""
        parts = mx.split(joined, self._ends, axis=1)[:-1]
        return {path: part.reshape(-1, *shape) for (path, shape), part in zip(self._shapes.items(), parts, strict=True)}


def clip_each(gradients: Joined, limit: float) -> tuple[Joined, Float[mx.array, " cells"]]:
    """Return the gradients of each cell, scaled down to a norm of at most `limit`, and the norms before."""
    norms = mx.sqrt(mx.square(gradients).reshape(len(gradients), -1, ROW).sum(axis=2).sum(axis=1))
    return gradients * mx.minimum(limit / (norms + 1e-6), 1.0)[:, None], norms
