"""Training of the tuned lens: affine translators by which inner layers give the model's own prediction.

Belrose et al. 2023 (arXiv 2303.08112): x = h + D h + b is read with the model's own norm and head, D = 0 and b = 0 at
the start, and KL(model's prediction || prediction from x) is the loss. Here D acts on hidden states in units of their
own spread, so that one learning rate serves all layers, and the divergence of a step is estimated on a part of the
vocabulary.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from jaxtyping import Float, Int

from study.config.lenses import LensFitting
from study.lens.head import head_of
from study.lens.hooks import Lens, attached
from study.lens.readout import portions
from study.lens.texts import Texts, states_along
from study.lens.translators import Translators
from study.training.loop import TrainingError

TINY = 1e-12
"""Added to variances, of which some are zero."""
LIKELIEST = 512
"""Positions by which the tokens are chosen that are in every step's part of the vocabulary."""


def fit_tuned(
    model: nn.Module, texts: Texts, settings: LensFitting, on_part: Callable[[float], None] = lambda part: None
) -> Translators:
    """Train the tuned lens of a frozen model on all but the last `held_out` of the texts.

    `on_part` is called with the share of the steps that is done. Raises TrainingError where a translator is not finite,
    LensError where the lens cannot read the architecture.
    """
    rng = np.random.default_rng(settings.seed)
    with attached(model) as lens:
        states = states_along(lens, texts.ids[: -settings.held_out], settings.skipped)
        head, part = head_of(model, lens, states[:1, -1]), _Part(lens, states[:, -1], settings.vocabulary, rng)
        scaled = _Scaled.of(states)
        blocks, hidden = scaled.spread.shape
        tree = {"maps": mx.zeros((blocks, hidden, hidden)), "biases": mx.zeros((blocks, hidden))}
        rate = optim.linear_schedule(settings.learning_rate, 0.0, settings.steps)
        optimizer = optim.Adam(rate, bias_correction=True)
        for step in range(settings.steps):
            chosen = states[mx.array(rng.integers(len(states), size=settings.positions))]
            ids, logs = part.drawn(rng)
            with head.with_only(mx.array(ids)):
                gradients = _gradients(lens, scaled, tree, chosen, logs)
            tree = optimizer.apply_gradients(gradients, tree)
            mx.eval(tree, optimizer.state)
            on_part((step + 1) / settings.steps)
    maps, biases = scaled.written_out(tree["maps"], tree["biases"])
    if not bool((mx.isfinite(maps).all() & mx.isfinite(biases).all()).item()):
        raise TrainingError(f"the tuned lens is not finite; lower its learning rate ({settings.learning_rate:g})")
    about = {"text": texts.source, "texts": str(settings.texts), "tokens": str(texts.ids.shape[1])}
    return Translators("tuned", maps, biases, about)


@dataclass(frozen=True)
class _Scaled:
    """The units in which translators are trained: x = h + scale * (D (h - centre) / spread + weight * b).

    Adam moves every number about as far. With a weight of 1, b would be one input among as many as there are dimensions
    of a state, and what it has to add at early layers would take ten times the steps.
    """

    centre: Float[mx.array, "inner hidden"]
    """Mean of the states after each block but the last."""
    spread: Float[mx.array, "inner hidden"]
    scale: Float[mx.array, " hidden"]
    """Standard deviations of what the last block gives."""

    @property
    def weight(self) -> float:
        """Of the bias: the length of what D acts on."""
        return math.sqrt(len(self.scale))

    def moved(
        self, states: Float[mx.array, "n hidden"], own: Float[mx.array, "n hidden"], map_: mx.array, bias: mx.array
    ) -> Float[mx.array, "n hidden"]:
        """Return x of states of one layer, and of the same in units of their spread."""
        return states + self.scale * (own @ map_.T + self.weight * bias)

    @classmethod
    def of(cls, states: Float[mx.array, "n blocks hidden"]) -> "_Scaled":
        inner = states[:, :-1]
        return cls(inner.mean(axis=0), mx.sqrt(inner.var(axis=0) + TINY), mx.sqrt(states[:, -1].var(axis=0)))

    def written_out(
        self, maps: Float[mx.array, "inner hidden hidden"], biases: Float[mx.array, "inner hidden"]
    ) -> tuple[Float[mx.array, "blocks hidden hidden"], Float[mx.array, "blocks hidden"]]:
        """Return A and b of x = A h + b for every block, the identity for the last."""
        turned = self.scale[:, None] * maps / self.spread[:, None]
        shifts = self.weight * self.scale * biases - (turned @ self.centre[..., None])[..., 0]
        hidden = len(self.scale)
        whole = mx.concatenate([turned, mx.zeros((1, hidden, hidden))]) + mx.eye(hidden)
        return whole, mx.concatenate([shifts, mx.zeros((1, hidden))])


def _gradients(
    lens: Lens,
    scaled: _Scaled,
    tree: Mapping[str, mx.array],
    states: Float[mx.array, "n blocks hidden"],
    logs: Float[np.ndarray, " tokens"],
) -> dict[str, mx.array]:
    """Return the gradients of KL(model's prediction || prediction of the lens), the mean over the states, layer by
    layer: the logits of all would not fit into memory."""
    target = _softmax(lens.read_out(states[:, -1]), logs)
    maps, biases = [], []
    for layer in range(lens.blocks - 1):
        own = (states[:, layer] - scaled.centre[layer]) / scaled.spread[layer]
        moved = scaled.moved(states[:, layer], own, tree["maps"][layer], tree["biases"][layer])
        slopes = mx.array((_softmax(lens.read_out(moved), logs) - target) / len(states))
        (gradient,) = mx.vjp(lens.read_out, [moved], [slopes])[1]
        gradient = gradient * scaled.scale
        maps.append(gradient.T @ own)
        biases.append(scaled.weight * gradient.sum(axis=0))
        mx.eval(maps[-1], biases[-1])
    return {"maps": mx.stack(maps), "biases": mx.stack(biases)}


class _Part:
    """Draws a part of the vocabulary: half of it the likeliest tokens, the others at random, each of which then stands
    for all that were not drawn."""

    def __init__(self, lens: Lens, last: Float[mx.array, "n hidden"], size: int, rng: np.random.Generator) -> None:
        some = last[mx.array(rng.permutation(len(last))[:LIKELIEST])]
        likely = sum(
            _softmax(lens.read_out(some[one]), np.zeros(1, np.float32)).sum(axis=0) for one in portions(lens, some)
        )
        order = np.argsort(-likely, kind="stable")
        whole = len(order) <= size
        self._kept = order if whole else order[: size // 2]
        self._others = order[len(self._kept) :]
        self._size = 0 if whole else size - len(self._kept)

    def drawn(self, rng: np.random.Generator) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Return token ids, and the logarithms of how many tokens each stands for."""
        others = rng.choice(self._others, self._size, replace=False)
        weight = math.log(len(self._others) / self._size) if self._size else 0.0
        logs = np.concatenate([np.zeros(len(self._kept)), np.full(self._size, weight)])
        return np.concatenate([self._kept, others]), logs.astype(np.float32)


def _softmax(logits: Float[mx.array, "n vocab"], logs: Float[np.ndarray, " any"]) -> Float[np.ndarray, "n vocab"]:
    """Return the probabilities of weighted tokens; by numpy, whose exp is many times as fast as MLX's on a CPU."""
    values: np.ndarray = np.array(logits.astype(mx.float32)) + logs
    values -= values.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values
