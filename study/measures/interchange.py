"""Whether the model uses the class: interchange interventions on the hidden state, and the answers that they give.

The state of a prompt at a layer and its last token is exchanged, wholly or in a subspace, with that of its source: the
same prompt for another operation (Geiger et al., 2021). What counts is the probability of the source's answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float

from study.config.names import Operation
from study.lens.hooks import Lens, at, attached
from study.lens.readout import Answer, class_direction, last_states, read_answers
from study.lens.tokens import Encoded, Tokenizer, encode
from study.measures.measured_cell import Measure, MeasuredCell, first_of_each
from study.results.schema import Row
from study.tasks import task_of
from study.training.objectives import make_batch

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Factors of the move in the class direction, and of the random one that is held against it."""
RANKS = (1, 4)
"""Ranks of the learned subspaces."""
FITTING_PAIRS = 32
"""Training prompts of each operation, with their sources, from which subspaces are learned."""
CANDIDATES = 3
"""Times as many prompts as are asked for, among which those are sought that are answered right with their sources."""

Moves = dict[tuple[str, float], Float[np.ndarray, "prompts hidden"]]
"""What is added to the state of each prompt, by subspace and strength."""


@dataclass(frozen=True)
class Pair:
    """A prompt and its source."""

    number: int
    base: Encoded
    source: Encoded

    @property
    def wanted(self) -> Encoded:
        """The prompt with the source's answer."""
        return Encoded(self.base.prompt, self.base.prompt_ids, self.source.answer_ids)


def interchange(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    fitting: Sequence[tuple[Encoded, Encoded]],
    tokens: Mapping[Operation, int],
    layers: Sequence[int],
    batch_size: int,
    seed: int,
) -> list[Row]:
    """Return a row for each prompt, layer, subspace and strength, in the order of the prompts.

    The move of a state h at a layer, towards that of its source h', is strength · P (h' - h), with P the projection on

    - `full`: all of it, which is the ceiling;
    - `class`: the direction along which the lens' logit of the source's class token, minus that of the prompt's own,
      rises most; `complement`: all that is orthogonal to it;
    - `paired_k`: the k directions that explain most of h' - h of the training pairs `fitting` (their leading right
      singular vectors);
    - `random`, `random_4`: a subspace drawn at random for each prompt, of rank 1 and 4, in which the state moves as far
      as in `class` and `paired_4`, which is the floor.

    `none` moves nothing. `source_nll` is the negative log-likelihood of the source's answer and its stop, `moved` the
    length of the move.
    """
    rows: list[Row] = []
    with attached(model) as lens:
        own, theirs = (last_states(lens, items, batch_size) for items in _columns(pairs))
        known = [last_states(lens, items, batch_size) for items in zip(*fitting, strict=True)]
        for layer in layers:
            learned = _directions(np.array(known[1][:, layer] - known[0][:, layer], np.float64))
            moves = _moves(lens, pairs, own[:, layer], theirs[:, layer], tokens, learned, seed)
            at_once = max(1, 4 * batch_size // len(moves))
            for start in range(0, len(pairs), at_once):
                part = {name: move[start : start + at_once] for name, move in moves.items()}
                rows += _measure(lens, tokenizer, pairs[start : start + at_once], layer, part)
    return sorted(rows, key=lambda row: row["prompt_id"])


def answered_right(model: nn.Module, tokenizer: Tokenizer, encoded: Sequence[Encoded], batch_size: int) -> list[bool]:
    """Return whether the model answers each prompt right."""
    told: list[Answer] = []
    with attached(model) as lens:
        for start in range(0, len(encoded), batch_size):
            part = encoded[start : start + batch_size]
            batch = make_batch(part)
            told += read_answers(lens, tokenizer, part, at(lens.hidden(batch.ids)[-1], batch.rows, batch.positions))
    return [answer.right for answer in told]


def _columns(pairs: Sequence[Pair]) -> tuple[list[Encoded], list[Encoded]]:
    return [pair.base for pair in pairs], [pair.source for pair in pairs]


def _directions(differences: Float[np.ndarray, "pairs hidden"]) -> Float[np.ndarray, "k hidden"]:
    """Return the directions that explain most of the differences, as many as the largest rank, orthonormal."""
    directions: np.ndarray = np.linalg.svd(differences, full_matrices=False)[2][: max(RANKS)]
    return directions


def _moves(
    lens: Lens,
    pairs: Sequence[Pair],
    own: Float[mx.array, "prompts hidden"],
    theirs: Float[mx.array, "prompts hidden"],
    tokens: Mapping[Operation, int],
    learned: Float[np.ndarray, "k hidden"],
    seed: int,
) -> Moves:
    difference = np.array(theirs, np.float64) - np.array(own, np.float64)
    along = _class_directions(lens, pairs, own, tokens)
    of_class = (difference * along).sum(axis=1, keepdims=True) * along
    paired = {k: difference @ learned[:k].T @ learned[:k] for k in RANKS}
    rng = np.random.default_rng(seed)
    moves: Moves = {("none", 1.0): 0 * difference, ("full", 1.0): difference}
    moves |= {("complement", 1.0): difference - of_class}
    moves |= {(f"paired_{k}", 1.0): move for k, move in paired.items()}
    moves |= {("random_4", 1.0): _random(rng, difference, 4, paired[4])}
    random = _random(rng, difference, 1, of_class)
    for strength in STRENGTHS:
        moves |= {("class", strength): strength * of_class, ("random", strength): strength * random}
    return moves


def _class_directions(
    lens: Lens, pairs: Sequence[Pair], states: Float[mx.array, "prompts hidden"], tokens: Mapping[Operation, int]
) -> Float[np.ndarray, "prompts hidden"]:
    """Return, for each prompt, the unit direction of its source's class against its own."""
    between = [(pair.base.prompt.operation, pair.source.prompt.operation) for pair in pairs]
    directions = np.zeros(states.shape)
    for one, other in dict.fromkeys(between):
        here = np.array([places == (one, other) for places in between])
        both = here | np.array([places == (other, one) for places in between])
        directions[here] = class_direction(lens, states[mx.array(np.flatnonzero(both))], tokens[other], tokens[one])
    return directions


def _random(
    rng: np.random.Generator,
    difference: Float[np.ndarray, "prompts hidden"],
    rank: int,
    like: Float[np.ndarray, "prompts hidden"],
) -> Float[np.ndarray, "prompts hidden"]:
    """Return the difference in a random subspace of this rank, another for each prompt, as long as `like`."""
    drawn = np.linalg.qr(rng.standard_normal((len(difference), difference.shape[1], rank)))[0]
    within = np.einsum("phk,pk->ph", drawn, np.einsum("phk,ph->pk", drawn, difference))
    scaled: np.ndarray = within * (np.linalg.norm(like, axis=1) / np.linalg.norm(within, axis=1))[:, None]
    return scaled


def _measure(lens: Lens, tokenizer: Tokenizer, part: Sequence[Pair], layer: int, moves: Moves) -> list[Row]:
    """Return the rows of one batch of prompts. The blocks above `layer` get one copy of the batch for each move, and
    those below it are computed once."""
    wanted = [pair.wanted for pair in part]
    batch = make_batch(wanted * len(moves))
    added = mx.array(np.concatenate(list(moves.values())).astype(np.float32))

    def move(states: mx.array) -> mx.array:
        return states.at[batch.all_rows, batch.last].add(added)

    states = lens.hidden(batch.ids[: len(part)], len(moves), layer, {layer: move})
    # The edit changes what the next block gets, not the recorded state of the layer itself.
    last = move(states[-1]) if layer == lens.blocks - 1 else states[-1]
    told = read_answers(lens, tokenizer, wanted * len(moves), at(last, batch.rows, batch.positions))
    rows = []
    for k, ((subspace, strength), by_prompt) in enumerate(moves.items()):
        for i, pair in enumerate(part):
            prompt, answer = pair.base.prompt, told[k * len(part) + i]
            about = {"prompt_id": pair.number, "tier": prompt.tier, "template": prompt.template}
            about |= {"operation": prompt.operation, "operands": prompt.operands, "seen": prompt.seen}
            place = {"layer": layer, "subspace": subspace, "strength": strength}
            found = {"source_nll": answer.nll, "source_right": answer.right}
            rows.append({**about, **place, **found, "moved": float(np.linalg.norm(by_prompt[i]))})
    return rows


def _of_cell(cell: MeasuredCell) -> dict[str, list[Row]]:
    """Measure a cell on prompts of the tiers that either stage trained on, which it answers right with their
    sources."""
    unit, count = cell.unit, cell.unit.evaluation.causal_prompts
    task, following = task_of(unit.stage_one.data), _following(cell.class_ids)
    tiers = {*unit.wordings, *unit.stage_one.stage1.wordings}
    asked = {n: item for n, item in cell.encoded.items() if item.prompt.tier in tiers}
    asked = {n: item for n, item in asked.items() if item.prompt.operation in following}

    def source(item: Encoded) -> Encoded:
        other = task.counterfactual(item.prompt, following[item.prompt.operation])
        return encode(cell.tokenizer, replace(other, seen=item.prompt.seen))

    pairs = [Pair(n, item, source(item)) for n, item in first_of_each(asked, CANDIDATES * count).items()]
    size = cell.unit.evaluation.batch_size
    right = [answered_right(cell.model, cell.tokenizer, items, size) for items in _columns(pairs)]
    both = {pair.number: pair for pair, *is_right in zip(pairs, *right, strict=True) if all(is_right)}
    chosen = [both[n] for n in first_of_each({n: pair.base for n, pair in both.items()}, count)]
    if not chosen:
        return {}
    columns = task.fitting_prompts(list(following), FITTING_PAIRS, unit.stage_one.seed)
    fitting = [encode(cell.tokenizer, prompt) for prompt in columns]
    rows = interchange(
        cell.model,
        cell.tokenizer,
        chosen,
        [(one, other) for one, other in zip(fitting, _rotated(fitting, len(following)), strict=True)],
        cell.class_ids,
        unit.intervened,
        size,
        unit.stage_one.seed,
    )
    return {"interchange": rows}


def _following(tokens: Mapping[Operation, int]) -> dict[Operation, Operation]:
    """Return the operation of the source by that of the prompt: the next one."""
    names = list(tokens)
    return dict(zip(names, [*names[1:], names[0]], strict=True))


def _rotated(encoded: Sequence[Encoded], size: int) -> list[Encoded]:
    """Return prompts, which are in groups of one of each operation, with the next of its group in the place of each."""
    groups = [encoded[start : start + size] for start in range(0, len(encoded), size)]
    return [item for group in groups for item in [*group[1:], group[0]]]


MEASURE = Measure("intervene", lambda unit: bool(unit.intervened), _of_cell)
