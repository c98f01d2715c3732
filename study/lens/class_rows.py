"""Rows of the unembedding for class tokens: along the directions in which a model tells classes apart, or across."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from study.lens.hooks import LensError

SAME = 1e-6
"""Share of its length by which a class mean has to differ from that of all classes, more than float32 rounds."""


def class_rows(
    kind: Literal["aligned", "orthogonal"],
    inputs: Sequence[np.ndarray],
    own: Float[np.ndarray, "classes hidden"],
    seed: int,
) -> Float[np.ndarray, "classes hidden"]:
    """Return a row for each class, as long as its `own`.

    `inputs` [prompts, hidden] are, for each class, what the unembedding is applied to at a layer. *Aligned* rows point
    from the mean of all classes to that of their own. *Orthogonal* ones are the same figure turned out of the space of
    these directions, at random: they have the same angles with one another, and a right angle with every difference of
    class means. Raises LensError where a class has the mean of all.
    """
    means = np.stack([of_class.mean(axis=0) for of_class in inputs])
    apart = means - means.mean(axis=0)
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)
    if (lengths < SAME * np.linalg.norm(means, axis=1, keepdims=True)).any():
        raise LensError("the mean of a class is that of all classes at this layer: its row has no direction")
    units = apart / lengths
    if kind == "orthogonal":
        # Differences of k means span k - 1 dimensions.
        span = np.linalg.svd(apart, full_matrices=False)[2][: len(own) - 1]
        drawn = np.random.default_rng(seed).standard_normal((len(span), own.shape[1]))
        across = np.linalg.qr((drawn - drawn @ span.T @ span).T)[0].T
        units = units @ span.T @ across
    found: np.ndarray = units * np.linalg.norm(own, axis=1, keepdims=True)
    return found
