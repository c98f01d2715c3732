"""Predictors: quantities measured on a model before stage 2 that may predict where a class can be trained.

A predictor is declared only here: its name, its label in figures, and how it follows from the measurements at one
layer. The configuration, the rows, the report and its figures take it from PREDICTORS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Place:
    """Measurements of a pair of class tokens at one layer, on the held-out prompts of one tier whose operations have a
    class."""

    layer: int
    """Index of the block, 0-based."""
    blocks: int
    """Number of blocks of the model."""
    states: np.ndarray
    """[prompts, hidden]: hidden states that the block returns at the last token of each prompt."""
    states_below: np.ndarray | None
    """[prompts, hidden]: those that the block below returns; None at the first block."""
    log_p: np.ndarray
    """[prompts]: log-probability of the right class token by the logit lens, nats."""
    rank: np.ndarray
    """[prompts]: number of tokens of the vocabulary that outrank it."""
    choice: np.ndarray
    """[prompts]: whether it outranks the other class tokens."""
    classes: list[np.ndarray]
    """[prompts] for each class: whether a prompt belongs to it."""
    divergence: np.ndarray
    """[prompts]: KL(last layer || this layer) of the distributions of the next token, nats."""
    probe: float
    """Balanced accuracy of a linear probe for the operation, fitted on training prompts."""
    probe_below: float
    """The mean of `probe` over this layer and those below."""
    probe_seen: float
    """The same on the prompts of `probe_control`, whose templates the probe saw; the same for all tiers."""
    probe_control: float
    """The same of a probe for labels that are exchanged at random in every template (Hewitt & Liang, 2019)."""
    direction_cosine: float
    """Cosine of the direction that the logit lens reads and the difference of the class means."""
    unembedding: np.ndarray
    """[classes, hidden]: the class tokens' rows of the unembedding."""
    tied: bool
    """Whether the unembedding is the input embedding."""
    class_gradient: np.ndarray
    """[parameters]: gradient of the class loss by the adapter at and below the layer, as initialised in stage 2."""
    answer_gradient: np.ndarray | None
    """[parameters]: the same of the answer loss; None where prompts have no answers."""


@dataclass(frozen=True)
class Predictor:
    """One quantity of a layer, and its label."""

    words: str
    """Its label in figures, with its unit."""
    value: Callable[[Place], float | None]
    """The quantity; None where it is not defined."""
    missing: bool = False
    """Whether there are layers at which it is not defined."""
    of_answers: bool = False
    """Whether it needs prompts with answers, and is not defined without."""
    testable: bool = True
    """Whether `decisions.predictors` may name it; a fact that is the same at all layers explains no depth."""


def _norms(states: np.ndarray) -> np.ndarray:
    norms: np.ndarray = np.linalg.norm(states, axis=1)
    return norms


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the cosine of two vectors; 0 where one is zero: a layer may have the same state for all classes."""
    length = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / length) if length else 0.0


def _growth(place: Place) -> float | None:
    if place.states_below is None:
        return None
    return float(_norms(place.states).mean() / _norms(place.states_below).mean())


def _gradient_cosine(place: Place) -> float | None:
    return None if place.answer_gradient is None else cosine(place.class_gradient, place.answer_gradient)


def _gradient_ratio(place: Place) -> float | None:
    if place.answer_gradient is None:
        return None
    return float(np.linalg.norm(place.class_gradient) / np.linalg.norm(place.answer_gradient))


def _pair_cosine(place: Place) -> float:
    rows = place.unembedding
    return float(np.mean([cosine(rows[i], rows[k]) for i in range(len(rows)) for k in range(i + 1, len(rows))]))


PREDICTORS: dict[str, Predictor] = {
    "depth": Predictor("relative depth", lambda at: (at.layer + 1) / at.blocks),
    "remaining": Predictor("blocks above the layer", lambda at: at.blocks - 1 - at.layer),
    "log_p": Predictor("log p of the class token", lambda at: float(at.log_p.mean())),
    "rank": Predictor("rank of the class token", lambda at: float(np.median(at.rank))),
    "kl": Predictor("KL of final output to lens, nats", lambda at: float(at.divergence.mean())),
    "a_lin": Predictor(
        "accuracy of the unembedding rows",
        lambda at: float(np.mean([at.choice[own].mean() for own in at.classes])),
    ),
    "probe": Predictor("accuracy of a linear probe", lambda at: at.probe),
    "probe_below": Predictor("accuracy of probes up to the layer", lambda at: at.probe_below),
    "probe_control": Predictor("probe on shuffled labels", lambda at: at.probe_control),
    "selectivity": Predictor("selectivity of a linear probe", lambda at: at.probe_seen - at.probe_control),
    "direction_cosine": Predictor("cosine of class directions", lambda at: at.direction_cosine),
    "unembedding_norm": Predictor("norm of the unembedding rows", lambda at: float(_norms(at.unembedding).mean())),
    "pair_cosine": Predictor("cosine of the unembedding rows", _pair_cosine),
    "tied": Predictor("whether the head is the embedding", lambda at: float(at.tied), testable=False),
    "residual_growth": Predictor("growth of the residual stream", _growth, missing=True),
    "lora_parameters": Predictor("trained parameters up to the layer", lambda at: len(at.class_gradient)),
    "gradient_cosine": Predictor("cosine of the two gradients", _gradient_cosine, of_answers=True),
    "gradient_ratio": Predictor("ratio of the two gradients", _gradient_ratio, of_answers=True),
}

TESTABLE = tuple(name for name, predictor in PREDICTORS.items() if predictor.testable)
