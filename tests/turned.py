"""A model of linear blocks, in which a class lies along a known direction that a known rotation turns."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

HIDDEN, VOCABULARY = 16, 40
CLASSES = (0, 1)
"""Ids of the class tokens; every other token is of the class 0 if its id is even, else of the class 1."""


class Linear(nn.Module):
    """A block that gives W h, and adds what the state before held, `carried` times."""

    def __init__(self, weight: np.ndarray, carried: float) -> None:
        super().__init__()
        self.weight = mx.array(weight.astype(np.float32))
        self.carried = carried

    def __call__(self, states: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        before = mx.pad(states[:, :-1], ((0, 0), (1, 0), (0, 0)))
        return (states + self.carried * before) @ self.weight.T


class Turned(nn.Module):
    """Embedding, linear blocks, norm and head. The last block turns the class direction into one across it."""

    def __init__(self, maps: list[np.ndarray], carried: float = 0.0) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        tokens = 0.3 * rng.standard_normal((VOCABULARY, HIDDEN))
        tokens[:, 0] = np.where(np.arange(VOCABULARY) % 2, -1.0, 1.0)
        head = 0.3 * rng.standard_normal((VOCABULARY, HIDDEN))
        whole = np.linalg.multi_dot([*maps[::-1], np.eye(HIDDEN)])
        for token, sign in zip(CLASSES, (4.0, -4.0), strict=True):
            head[token] = sign * whole[:, 0]
        self.embed_tokens = nn.Embedding(VOCABULARY, HIDDEN)
        self.embed_tokens.weight = mx.array(tokens.astype(np.float32))
        self.layers = [Linear(one, carried) for one in maps]
        self.norm = nn.RMSNorm(HIDDEN)
        self.lm_head = nn.Linear(HIDDEN, VOCABULARY, bias=False)
        self.lm_head.weight = mx.array(head.astype(np.float32))

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        states = self.embed_tokens(ids)
        for layer in self.layers:
            states = layer(states)
        return self.lm_head(self.norm(states))


def rotation(seed: int = 0) -> np.ndarray:
    """A rotation after which the first direction is across what it was."""
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((HIDDEN, HIDDEN))
    columns[0, 0] = 0.0
    found, _ = np.linalg.qr(columns)
    return found
