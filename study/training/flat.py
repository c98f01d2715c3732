"""All trained parameters in one array, for elementwise operations such as those of the optimiser.

An optimiser applies a dozen operations to each parameter. One long array needs a dozen in all, some hundred small
arrays need thousands, and the time depends on the number of operations rather than on their size.
"""

import math
from collections.abc import Collection, Mapping
from itertools import accumulate

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from jaxtyping import Float
from mlx.utils import tree_flatten, tree_unflatten

ROW = 1024
"""The length of the array is a multiple of this. MLX's sum on the CPU adds one by one, so that large totals lose small
values; sums over rows of this length, and then over the rows, are precise."""
NAME = "trained"
"""Name of the array in the tree of parameters that the optimiser gets."""

Joined = Float[mx.array, "*cells n"]
Parted = Mapping[str, mx.array]
"""Arrays of the parameters by their path in the model."""


class Flat:
    """The trained parameters of a model, joined in one array of which the model's parameters are views.

    Those of a stacked model have an axis of cells in front, and so has the array; those of a whole model have not.
    """

    def __init__(self, model: nn.Module, stacked: bool = True) -> None:
        parameters = dict(tree_flatten(model.trainable_parameters()))
        self._model, self._axis = model, int(stacked)
        self._shapes: dict[str, tuple[int, ...]] = {
            path: value.shape[self._axis :] for path, value in parameters.items()
        }
        self._ends = list(accumulate(map(math.prod, self._shapes.values())))
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
        parts = [mx.flatten(values[path], self._axis) for path in self._shapes]
        rest = mx.zeros((*parts[0].shape[: self._axis], -self._ends[-1] % ROW))
        return mx.concatenate([*parts, rest], axis=self._axis)

    def parted(self, joined: Joined) -> Parted:
        """Return the values of the parameters in such an array by path, as views."""
        parts = mx.split(joined, self._ends, axis=self._axis)[:-1]
        cells = joined.shape[: self._axis]
        # The shape as one argument: that of a scalar, spread out, would be none.
        return {
            path: part.reshape((*cells, *shape))
            for (path, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def arrays(self, moments: Mapping[str, Joined]) -> dict[str, mx.array]:
        """Return the parameters by path and, by `path.name`, what the optimiser keeps for each of them."""
        kept = {"": self.tree[NAME], **{f".{name}": value for name, value in moments.items()}}
        return {path + of: value for of, joined in kept.items() for path, value in self.parted(joined).items()}

    def go_on(self, arrays: Mapping[str, mx.array], optimizer: optim.Optimizer, step: int) -> None:
        """Hold the parameters that `arrays` returned after `step` steps, and give the optimiser its own."""
        self.hold(self.joined(arrays))
        kept = {
            name: self.joined({path: arrays[f"{path}.{name}"] for path in self.paths}) for name in optimizer.state[NAME]
        }
        optimizer.state = {**optimizer.state, "step": mx.array(step, optimizer.step.dtype), NAME: kept}


def clip_each(gradients: Joined, limit: float) -> tuple[Joined, Float[mx.array, " cells"]]:
    """Return the gradients of each cell, scaled down to a norm of at most `limit`, and the norms before."""
    norms = mx.sqrt(mx.square(gradients).reshape(len(gradients), -1, ROW).sum(axis=2).sum(axis=1))
    return gradients * mx.minimum(limit / (norms + 1e-6), 1.0)[:, None], norms
