"""Read-outs of hidden states by the logit lens: class tokens, answers, and the direction that separates classes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import numpy as np
from jaxtyping import Bool, Float, Int

from study.config.names import Operation
from study.lens.hooks import Lens, at
from study.lens.logits import log_sums, most_likely, summarise
from study.lens.tokens import ClassToken, Encoded, Tokenizer, continues_answer, ends_answer, padded

LOGITS = 2**26
"""Largest number of logits in memory at a time: 256 MiB in float32, some hundred rows of a large vocabulary."""

Figures = dict[str, np.ndarray]
"""[n] for n states: `log_p` of the right class token, its `rank` in the vocabulary, its `margin` over the best other
class token, `log_mass` of all class tokens, `choice` (whether it outranks the others). Log-probabilities are over the
full vocabulary, in nats. Of names that are read as sequences, `log_p` is the sum over their tokens, and `rank` the
largest of theirs, which is 0 where greedy decoding at the layer gives the name."""


@dataclass(frozen=True)
class Rest:
    """What the tokens after the first one add to class names, for n states and k classes."""

    log_p: Float[np.ndarray, "n k"]
    """Sum of their log-probabilities, each after the prompt and the tokens before it, nats."""
    rank: Int[np.ndarray, "n k"]
    """Largest of their ranks."""


def read_classes(
    lens: Lens,
    states: Float[mx.array, "n hidden"],
    pairs: Sequence[Sequence[int]],
    right: Sequence[Int[np.ndarray, " n"]],
    rests: Mapping[int, Rest] | None = None,
) -> list[Figures]:
    """Return the figures of each pair. `pairs` are the ids of its class tokens; `right` are, for each pair, the indices
    of the right one among them, one for each state; `rests` are, for pairs whose names are read as sequences, by their
    index, what the further tokens add."""
    parts = [
        _read(lens, states[part], pairs, [places[part] for places in right], _parts_of(rests or {}, part))
        for part in portions(lens, states)
    ]
    return [
        {name: np.concatenate([part[p][name] for part in parts]) for name in parts[0][p]} for p in range(len(pairs))
    ]


def _parts_of(rests: Mapping[int, Rest], part: slice) -> dict[int, Rest]:
    return {p: Rest(rest.log_p[part], rest.rank[part]) for p, rest in rests.items()}


def read_every_layer(
    lens: Lens,
    states: Float[mx.array, "prompts blocks hidden"],
    encoded: Sequence[Encoded],
    pairs: Sequence[Mapping[Operation, ClassToken]],
) -> list[Figures]:
    """Return the figures [prompts, blocks] of each pair, of translated states; without meaning where a prompt's
    operation has no class."""
    size, blocks, hidden = states.shape
    right = [np.repeat(class_places(encoded, tokens), blocks) for tokens in pairs]
    ids = [[token.id for token in tokens.values()] for tokens in pairs]
    read = read_classes(lens, states.reshape(-1, hidden), ids, right)
    return [{name: values.reshape(size, blocks) for name, values in figures.items()} for figures in read]


def portions(lens: Lens, states: mx.array) -> list[slice]:
    """Return slices of the states, equal and as few as LOGITS allows: the fewer rows a product has, the more each
    costs."""
    count = min(len(states), math.ceil(len(states) * lens.vocabulary(states) / LOGITS))
    bounds = np.round(np.arange(count + 1) * len(states) / count).astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(bounds)]


def class_places(encoded: Sequence[Encoded], tokens: Iterable[Operation]) -> Int[np.ndarray, " n"]:
    """Return the index of each prompt's class among `tokens`; 0 where it has none, whose figures have no meaning."""
    place = {operation: k for k, operation in enumerate(tokens)}
    return np.array([place.get(item.prompt.named, 0) for item in encoded])


def _read(
    lens: Lens,
    states: mx.array,
    pairs: Sequence[Sequence[int]],
    right: Sequence[np.ndarray],
    rests: Mapping[int, Rest],
) -> list[Figures]:
    logits = lens.read_out(states)
    wanted = np.stack([np.array(ids)[places] for ids, places in zip(pairs, right, strict=True)], axis=1)
    totals, ranks = summarise(logits, wanted)
    every = np.array(logits[:, mx.array([token for ids in pairs for token in ids])].astype(mx.float32))
    figures, start = [], 0
    for p, (ids, places) in enumerate(zip(pairs, right, strict=True)):
        own = every[:, start : start + len(ids)]
        start += len(ids)
        is_right = places[:, None] == np.arange(len(ids))
        rank = ranks[:, p]
        if rest := rests.get(p):
            own, rank = own + rest.log_p, np.maximum(rank, rest.rank[is_right])
        figures.append({**_figures(own, is_right, totals), "rank": rank})
    return figures


def _figures(
    classes: Float[np.ndarray, "n k"], is_right: Bool[np.ndarray, "n k"], totals: Float[np.ndarray, " n"]
) -> Figures:
    of_right = classes[is_right]
    margin = of_right - np.where(is_right, -np.inf, classes).max(axis=1)
    mass = np.logaddexp.reduce(classes, axis=1)
    return {"log_p": of_right - totals, "margin": margin, "log_mass": mass - totals, "choice": margin > 0}


@dataclass(frozen=True)
class Answer:
    """How a model scores the right answer of a prompt."""

    nll: float
    """Negative log-likelihood of the answer and its stop token, nats."""
    right: bool
    """Whether greedy decoding gives the answer and then stops: EOS or a new line."""
    number_right: bool
    """Whether greedy decoding gives the answer and then does not continue its last number or word."""


def read_answers(
    lens: Lens, tokenizer: Tokenizer, encoded: Sequence[Encoded], states: Float[mx.array, "answer_tokens hidden"]
) -> list[Answer]:
    """Return the answers of prompts, from the output of the last block before each token of each answer.

    Teacher forcing gives the result of greedy decoding in one pass: greedy decoding yields exactly the answer's tokens
    if and only if each is the most likely one after those before it.
    """
    targets = mx.array([token for item in encoded for token in item.answer_ids])
    losses: list[float] = []
    greedy: list[int] = []
    for part in portions(lens, states):
        logits = lens.read_out(states[part])
        chosen = np.array(mx.take_along_axis(logits, targets[part, None], axis=1).astype(mx.float32))[:, 0]
        losses += (log_sums(logits) - chosen).tolist()
        greedy += most_likely(logits).tolist()
    answers, spot = [], 0
    for item in encoded:
        length = len(item.answer_ids)
        best, nll = greedy[spot : spot + length], sum(losses[spot : spot + length])
        spot += length
        told = tuple(best[:-1]) == item.answer_ids[:-1]
        right = told and ends_answer(tokenizer, best[-1])
        goes_on = told and continues_answer(tokenizer, item.answer_ids[:-1], best[-1])
        answers.append(Answer(nll, right, told and not goes_on))
    return answers


def class_direction(
    lens: Lens, states: Float[mx.array, "n hidden"], layer: int, token: int, other: int
) -> Float[np.ndarray, " hidden"]:
    """Return the unit vector along which logit(token) - logit(other) of the lens rises most, averaged over states after
    a block.

    It is the gradient: the difference of the two unembedding rows as seen through the model's own final norm, and
    through the translator of a lens that has one.
    """

    def difference(part: mx.array) -> mx.array:
        logits = lens.read_out(lens.translated(part, layer))
        return (logits[:, token] - logits[:, other]).sum()

    gradient: np.ndarray = sum(
        np.array(mx.grad(difference)(states[part])).sum(axis=0, dtype=np.float64) for part in portions(lens, states)
    )
    unit: np.ndarray = gradient / np.linalg.norm(gradient)
    return unit


def divergence_from_last(lens: Lens, states: Float[mx.array, "n blocks hidden"]) -> Float[np.ndarray, "n blocks"]:
    """Return KL(last block || block) of the distributions of the next token, nats."""
    size, blocks, hidden = states.shape
    at_once = max(1, LOGITS // (lens.vocabulary(states[0]) * blocks))
    found = []
    for start in range(0, size, at_once):
        part = states[start : start + at_once]
        logits = lens.read_out(part.reshape(-1, hidden)).astype(mx.float32)
        totals = log_sums(logits).reshape(-1, blocks)
        values = np.array(logits).reshape(len(part), blocks, -1)
        for z, total in zip(values, totals, strict=True):
            p = np.exp(z[-1] - total[-1])
            found.append(p @ z[-1] - z @ p - total[-1] + total)
    return np.array(found, np.float64)


def last_states(lens: Lens, encoded: Sequence[Encoded], batch_size: int) -> Float[mx.array, "n blocks hidden"]:
    """Return the hidden states after every block at the last token of each prompt."""
    parts = []
    for start in range(0, len(encoded), batch_size):
        part = encoded[start : start + batch_size]
        states = lens.hidden(padded([item.prompt_ids for item in part]))
        rows, last = mx.arange(len(part)), mx.array([len(item.prompt_ids) - 1 for item in part])
        parts.append(mx.stack([at(state, rows, last) for state in states], axis=1))
        mx.eval(parts[-1])
    return mx.concatenate(parts)
