"""Whether the network uses the class: the state at the trained layer is moved to the other class, and at random."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from study.config.names import Operation
from study.lens.hooks import Lens, at, attached
from study.lens.readout import class_direction, class_places, last_states, read_answers, read_classes
from study.lens.tokens import Encoded, Tokenizer, encode
from study.measures.measured_cell import Measure, MeasuredCell, first_of_each
from study.results.schema import Row
from study.tasks import Task, task_of
from study.training.objectives import make_batch


def swap_classes(
    model: nn.Module,
    tokenizer: Tokenizer,
    encoded: Mapping[int, Encoded],
    tokens: Mapping[Operation, int],
    layer: int,
    batch_size: int,
    seed: int,
    task: Task,
) -> tuple[list[Row], list[Row]]:
    """Answers, and class figures at the layers from `layer` on, under each intervention; a row a prompt (and layer),
    prompt by prompt, whatever the size of a batch.

    *swap*: the component of the state along the class direction is replaced by its mean over the next class. *random*:
    the state is moved as far, in a direction of its own for every prompt, at right angles to the class direction.
    *none*: as it is. `right` and `nll` are of the right answer, `other_nll` of the one that the next operation gives.
    """
    items = [(number, item) for number, item in encoded.items() if item.prompt.operation in tokens]
    prompts = [item for _, item in items]
    others = [_with_other_answer(tokenizer, item, list(tokens), task) for item in prompts]
    with attached(model) as lens:
        at_layer = last_states(lens, prompts, batch_size)[:, layer]
        swap, moved = _swap(lens, at_layer, [item.prompt.operation for item in prompts], tokens)
        moves = {"none": 0 * swap, "swap": swap, "random": _random(swap, moved, seed)}
        answers, lenses = [], []
        at_once = max(1, batch_size // len(moves))
        for start in range(0, len(items), at_once):
            stop = start + at_once
            part = {name: move[start:stop].astype(np.float32) for name, move in moves.items()}
            told, read = _measure(lens, tokenizer, items[start:stop], others[start:stop], tokens, layer, part)
            answers += told
            lenses += read
    by_prompt = itemgetter("prompt_id")
    return sorted(answers, key=by_prompt), sorted(lenses, key=by_prompt)


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
    others: Sequence[Encoded],
    tokens: Mapping[Operation, int],
    layer: int,
    moves: Mapping[str, np.ndarray],
) -> tuple[list[Row], list[Row]]:
    """Rows of one batch of prompts, by the interventions that move their states at `layer`.

    One pass serves all: each prompt with its own and with the other answer, and from `layer` on a copy an intervention.
    """
    own = [item for _, item in part]
    both = [*own, *others]
    batch = make_batch(both * len(moves))
    added = mx.array(np.concatenate([np.tile(move, (2, 1)) for move in moves.values()]))

    def move(states: mx.array) -> mx.array:
        return states.at[batch.all_rows, batch.last].add(added)

    states = lens.hidden(batch.ids[: len(both)], len(moves), layer, {layer: move})
    # What the edit changes of layer L itself is in what goes on from it, not in what is recorded of it.
    states = [move(states[layer]), *states[layer + 1 :]]
    mx.eval(states)
    told = read_answers(lens, tokenizer, both * len(moves), at(states[-1], batch.rows, batch.positions))
    last = mx.stack([at(state, batch.all_rows, batch.last) for state in states])
    last = last.reshape(len(states), len(moves), 2, len(own), -1)[:, :, 0]
    places = np.tile(class_places(own, tokens), len(states) * len(moves))
    (figures,) = read_classes(lens, last.reshape(len(places), -1), [list(tokens.values())], [places])
    log_p, margin = (figures[name].reshape(last.shape[:-1]) for name in ("log_p", "margin"))
    answers, lenses = [], []
    for k, (name, by_prompt) in enumerate(moves.items()):
        norms = np.linalg.norm(by_prompt, axis=1)
        mine, theirs = (told[(2 * k + other) * len(own) :] for other in (0, 1))
        for i, (number, item) in enumerate(part):
            prompt = item.prompt
            about = {"prompt_id": number, "tier": prompt.tier, "template": prompt.template}
            about |= {"operation": prompt.operation, "operands": prompt.operands, "intervention": name}
            found = {"right": mine[i].right, "nll": mine[i].nll, "other_nll": theirs[i].nll, "moved": float(norms[i])}
            answers.append({**about, **found})
            lenses += [
                {**about, "layer": layer + d, "log_p": float(log_p[d, k, i]), "margin": float(margin[d, k, i])}
                for d in range(len(states))
            ]
    return answers, lenses


def _with_other_answer(tokenizer: Tokenizer, item: Encoded, operations: Sequence[Operation], task: Task) -> Encoded:
    """The prompt with the answer that the operation of the next class gives."""
    other = operations[(operations.index(item.prompt.operation) + 1) % len(operations)]
    return encode(tokenizer, replace(item.prompt, answer=task.other_answer(item.prompt, other)))


def _of_cell(cell: MeasuredCell) -> dict[str, list[Row]]:
    """On the tiers that either stage trained."""
    unit = cell.unit
    tiers = {*unit.wordings, *unit.stage_one.stage1.wordings}
    asked = {number: item for number, item in cell.encoded.items() if item.prompt.tier in tiers}
    answers, lens = swap_classes(
        cell.model,
        cell.tokenizer,
        first_of_each(asked, unit.evaluation.causal_prompts),
        cell.class_ids,
        int(unit.layer or 0),
        unit.evaluation.batch_size,
        unit.stage_one.seed,
        task_of(unit.stage_one.data),
    )
    return {"causal": answers, "causal_lens": lens}


MEASURE = Measure("intervene", lambda unit: unit.layer is not None and unit.evaluation.causal_prompts > 0, _of_cell)
