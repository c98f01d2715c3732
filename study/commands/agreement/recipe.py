"""Weights and token ids of the tiny models, the same bits wherever numpy runs, and what both sides call their files.

Needs numpy alone.
"""

from collections.abc import Sequence

import numpy as np

COMPUTED, CHANGED = "computed.npz", "changed.npz"
"""What transformers computes, as it is and with the change of a known cause."""
RECIPE, FAILED, VERSIONS = "recipe.json", "failed.txt", "versions.json"
SPREAD = 0.3
"""Standard deviation of vectors: norms, biases, rates."""


def draw(name: str, shape: Sequence[int], centre: float) -> np.ndarray:
    """Return a tensor by its name: matrices are normal with variance 1 / inputs, vectors lie around `centre`."""
    rng = np.random.default_rng([*name.encode()])
    values = np.asarray(rng.standard_normal(tuple(shape), dtype=np.float32))
    if len(shape) < 2:
        return np.asarray(centre + SPREAD * values, np.float32)
    return np.asarray(values * np.float32(shape[-1] ** -0.5))


def ids_of(length: int, vocabulary: int) -> list[int]:
    """Return the ids of a text of the length; those below 3 are special tokens."""
    ids: list[int] = np.random.default_rng(length).integers(3, vocabulary, length).tolist()
    return ids
