"""Whether the network uses the class: the state at the trained layer is moved to the other class, and at random."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from study.arithmetic import result
from study.config import Operation
from study.encoding import Encoded, Tokenizer, encode
from study.lens import Lens, at, attached
from study.objectives import make_batch
from study.readout import Answer, class_direction, class_places, last_states, read_answers, read_classes

Row = dict[str, Any]


def swap_classes(
    model: nn.Module,
    tokenizer: Tokenizer,
    encoded: Mapping[int, Encoded],
    tokens: Mapping[Operation, int],
    layer: int,
    batch_size: int,
    seed: int,
) -> tuple[list[Row], list[Row]]:
    """Answers, and class figures at the layers from `layer` on, under each intervention; a row a prompt (and layer).

    *swap*: the component of the state along the class direction is replaced by its mean over the next class. *random*:
    the state is moved as far, in a direction of its own for every prompt, at right angles to the class direction.
    *none*: as it is. `right` and `nll` are of the right answer, `other_nll` of the one that the other operation gives.
    """
    items = {number: item for number, item in encoded.items() if item.prompt.operation in tokens}
    prompts = list(items.values())
    with attached(model) as lens:
        at_layer = last_states(lens, prompts, batch_size)[:, layer]
        swap, moved = _swap(lens, at_layer, [item.prompt.operation for item in prompts], tokens)
        interventions = {"none": 0 * swap, "swap": swap, "random": _random(swap, moved, seed)}
        answers, lenses = [], []
        for name, moves in interventions.items():
            for start in range(0, len(prompts), batch_size):
                part = list(items.items())[start : start + batch_size]
                added = mx.array(moves[start : start + batch_size].astype(np.float32))
                told, read = _measure(lens, tokenizer, part, tokens, layer, added)
                answers += [{**row, "intervention": name} for row in told]
                lenses += [{**row, "intervention": name} for row in read]
    return answers, lenses


def _swap(
    lens: Lens, states: mx.array, operations: Sequence[Operation], tokens: Mapping[Operation, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The move of each prompt [prompts, hidden] to the class that follows its own, and the directions of the moves."""
    values, names = np.array(states, np.float64), list(tokens)
    moves, directions = np.zeros_like(values), np.zeros_like(values)
    for k, operation in enumerate(names):
        other = names[(k + 1) % len(names)]
        own, theirs = (np.array([name == wanted for name in operations]) for wanted in (operation, other))
        direction = class_direction(
            lens, states[mx.array(np.flatnonzero(own | theirs))], tokens[operation], tokens[other]
        )
        component = values @ direction
        moves[own] = (component[theirs].mean() - component[own])[:, None] * direction
        directions[own] = direction
    return moves, directions


def _random(moves: np.ndarray, directions: np.ndarray, seed: int) -> np.ndarray:
    """For each move one of the same length, in a random direction at right angles to it."""
    drawn = np.random.default_rng(seed).standard_normal(moves.shape)
    drawn -= (drawn * directions).sum(axis=1, keepdims=True) * directions
    drawn *= (np.linalg.norm(moves, axis=1) / np.linalg.norm(drawn, axis=1))[:, None]
    return drawn


def _measure(
    lens: Lens,
    tokenizer: Tokenizer,
    part: Sequence[tuple[int, Encoded]],
    tokens: Mapping[Operation, int],
    layer: int,
    moves: mx.array,
) -> tuple[list[Row], list[Row]]:
    """Rows of one batch of prompts whose states at `layer` are moved."""
    own = [item for _, item in part]
    others = [_with_other_answer(tokenizer, item, list(tokens)) for item in own]
    states, mine = _answered(lens, tokenizer, own, layer, moves)
    _, theirs = _answered(lens, tokenizer, others, layer, moves)
    norms = np.linalg.norm(np.array(moves), axis=1)
    answers, lenses = [], []
    above = lens.blocks - layer
    places = class_places(own, tokens)
    last = mx.array([len(item.prompt_ids) - 1 for item in own])
    # What the edit changes of layer L itself is not in what is recorded of it.
    first = at(states[layer], mx.arange(len(own)), last) + moves
    later = [at(state, mx.arange(len(own)), last) for state in states[layer + 1 :]]
    read = mx.concatenate([first, *later])
    (figures,) = read_classes(lens, read, [list(tokens.values())], [np.tile(places, above)])
    log_p, margin = (figures[name].reshape(above, len(own)) for name in ("log_p", "margin"))
    for i, (number, item) in enumerate(part):
        prompt = item.prompt
        about = {"prompt_id": number, "tier": prompt.tier, "template": prompt.template, "operation": prompt.operation}
        about["operands"] = prompt.operands
        found = {"right": mine[i].right, "nll": mine[i].nll, "other_nll": theirs[i].nll, "moved": float(norms[i])}
        answers.append({**about, **found})
        lenses += [
            {**about, "layer": layer + k, "log_p": float(log_p[k, i]), "margin": float(margin[k, i])}
            for k in range(above)
        ]
    return answers, lenses


def _answered(
    lens: Lens, tokenizer: Tokenizer, items: Sequence[Encoded], layer: int, moves: mx.array
) -> tuple[list[mx.array], list[Answer]]:
    """The recorded states of all layers, and the answers."""
    batch = make_batch(items)

    def move(states: mx.array) -> mx.array:
        return states.at[batch.all_rows, batch.last].add(moves)

    states = lens.hidden(batch.ids, edits={layer: move})
    # Where L is the last layer, the head reads what goes on from it.
    last_block = move(states[-1]) if layer == lens.blocks - 1 else states[-1]
    return states, read_answers(lens, tokenizer, items, batch, last_block)


def _with_other_answer(tokenizer: Tokenizer, item: Encoded, operations: Sequence[Operation]) -> Encoded:
    """The prompt with the answer that the operation of the next class gives."""
    other = operations[(operations.index(item.prompt.operation) + 1) % len(operations)]
    return encode(tokenizer, replace(item.prompt, answer=str(result(other, item.prompt.a, item.prompt.b))))
