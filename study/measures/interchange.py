"""Whether the model uses the class: interchange interventions on hidden states, and the answers that they give.

The states of a prompt at a layer are exchanged, wholly or in a subspace, with those of its source: the same prompt for
another operation (Geiger et al., 2021). What counts is the probability of the source's answer. Exchanged are the states
that the answer is read from: that of the last prompt token, and those of the answer's own tokens. The first token of an
answer may be a mere space, which every answer begins with: then the last prompt token alone decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float

from study.config.names import Operation
from study.lens.hooks import Lens, at, attached
from study.lens.readout import Answer, class_direction, read_answers
from study.lens.tokens import Encoded, Tokenizer, encode
from study.lens.translators import Translators
from study.measures.measured_cell import Measure, MeasuredCell, first_of_each
from study.results.schema import Row
from study.tasks import task_of
from study.tasks.prompts import following
from study.training.objectives import make_batch

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Factors of the move in the class direction, and of the random one that is held against it."""
RANKS = (1, 4)
"""Ranks of the learned subspaces."""
FITTING_PAIRS = 32
"""Training prompts of each operation, with their sources, from which subspaces are learned."""

Moves = dict[tuple[str, float], Float[np.ndarray, "spots hidden"]]
"""What is added to the state at each spot of each prompt, by subspace and strength."""


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

    @property
    def spots(self) -> int:
        """The number of positions that the source's answer and its stop are read from."""
        return len(self.source.answer_ids)


def interchange(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    fitting: Sequence[Pair],
    tokens: Mapping[Operation, int],
    layers: Sequence[int],
    batch_size: int,
    seed: int,
    translators: Translators | None = None,
) -> list[Row]:
    """Return a row for each prompt, layer, subspace and strength, in the order of the prompts.

    The move of a state h at a layer, towards that of its source h', is strength · P (h' - h), with P the projection on

    - `full`: all of it, which is the ceiling;
    - `class`: the direction along which the lens' logit of the source's class token, minus that of the prompt's own,
      rises most at the last prompt token; `complement`: all that is orthogonal to it;
    - `paired_k`: the k directions that explain most of h' - h of the training pairs `fitting` (their leading right
      singular vectors);
    - `random`, `random_4`: a subspace drawn at random for each prompt, of rank 1 and 4, in which each state moves as
      far as in `class` and `paired_4`, which is the floor.

    `none` moves nothing. `source_nll` is the negative log-likelihood of the source's answer and its stop, `moved` the
    mean length of the moves.
    """
    rows: list[Row] = []
    with attached(model, translators) as lens:
        read, known = (_differences(lens, each, layers, batch_size) for each in (pairs, fitting))
        for place, layer in enumerate(layers):
            own, differences = read[0][:, place], np.array(read[1][:, place], np.float64)
            learned = _directions(np.array(known[1][:, place], np.float64))
            along = _class_directions(lens, pairs, own, layer, tokens)
            moves = _moves(pairs, along, differences, learned, seed)
            at_once = max(1, 4 * batch_size // len(moves))
            ends = np.cumsum([0, *(pair.spots for pair in pairs)])
            for start in range(0, len(pairs), at_once):
                part = pairs[start : start + at_once]
                here = slice(ends[start], ends[start + len(part)])
                rows += _measure(lens, tokenizer, part, layer, {name: move[here] for name, move in moves.items()})
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


def _differences(
    lens: Lens, pairs: Sequence[Pair], layers: Sequence[int], batch_size: int
) -> tuple[Float[mx.array, "spots layers hidden"], Float[mx.array, "spots layers hidden"]]:
    """Return the states of the prompts, with the source's answer, at its spots, and the sources' minus these."""
    own, theirs = (
        _states(lens, items, layers, batch_size)
        for items in ([pair.wanted for pair in pairs], [pair.source for pair in pairs])
    )
    return own, theirs - own


def _states(
    lens: Lens, encoded: Sequence[Encoded], layers: Sequence[int], batch_size: int
) -> Float[mx.array, "spots layers hidden"]:
    """Return the states at some layers from which the answers are read, prompt by prompt."""
    parts = []
    for start in range(0, len(encoded), batch_size):
        batch = make_batch(encoded[start : start + batch_size])
        states = lens.hidden(batch.ids)
        parts.append(mx.stack([at(states[layer], batch.rows, batch.positions) for layer in layers], axis=1))
        del states
        mx.eval(parts[-1])
    return mx.concatenate(parts)


def _directions(differences: Float[np.ndarray, "pairs hidden"]) -> Float[np.ndarray, "k hidden"]:
    """Return the directions that explain most of the differences, as many as the largest rank, orthonormal."""
    directions: np.ndarray = np.linalg.svd(differences, full_matrices=False)[2][: max(RANKS)]
    return directions


def _moves(
    pairs: Sequence[Pair],
    along: Float[np.ndarray, "spots hidden"],
    difference: Float[np.ndarray, "spots hidden"],
    learned: Float[np.ndarray, "k hidden"],
    seed: int,
) -> Moves:
    spots = [pair.spots for pair in pairs]
    of_class = (difference * along).sum(axis=1, keepdims=True) * along
    paired = {k: difference @ learned[:k].T @ learned[:k] for k in RANKS}
    rng = np.random.default_rng(seed)
    moves: Moves = {("none", 1.0): 0 * difference, ("full", 1.0): difference}
    moves |= {("complement", 1.0): difference - of_class}
    moves |= {(f"paired_{k}", 1.0): move for k, move in paired.items()}
    moves |= {("random_4", 1.0): _random(rng, difference, spots, 4, paired[4])}
    random = _random(rng, difference, spots, 1, of_class)
    for strength in STRENGTHS:
        moves |= {("class", strength): strength * of_class, ("random", strength): strength * random}
    return moves


def _class_directions(
    lens: Lens,
    pairs: Sequence[Pair],
    own: Float[mx.array, "spots hidden"],
    layer: int,
    tokens: Mapping[Operation, int],
) -> Float[np.ndarray, "spots hidden"]:
    """Return, for each spot of each prompt, the unit direction of its source's class against its own, from the states
    at the last prompt tokens, which are the first spots."""
    spots = [pair.spots for pair in pairs]
    states = own[mx.array(np.cumsum([0, *spots[:-1]]))]
    between = [(pair.base.prompt.operation, pair.source.prompt.operation) for pair in pairs]
    directions = np.zeros(states.shape)
    for one, other in dict.fromkeys(between):
        here = np.array([places == (one, other) for places in between])
        both = here | np.array([places == (other, one) for places in between])
        both_states = states[mx.array(np.flatnonzero(both))]
        directions[here] = class_direction(lens, both_states, layer, tokens[other], tokens[one])
    return np.repeat(directions, spots, axis=0)


def _random(
    rng: np.random.Generator,
    difference: Float[np.ndarray, "spots hidden"],
    spots: Sequence[int],
    rank: int,
    like: Float[np.ndarray, "spots hidden"],
) -> Float[np.ndarray, "spots hidden"]:
    """Return the difference in a random subspace of this rank, another for each prompt, as long as `like`."""
    drawn = np.linalg.qr(rng.standard_normal((len(spots), difference.shape[1], rank)))[0]
    drawn = np.repeat(drawn, spots, axis=0)
    within = np.einsum("phk,pk->ph", drawn, np.einsum("phk,ph->pk", drawn, difference))
    lengths = np.linalg.norm(within, axis=1)
    # States that do not differ, as those below the first token that does, do not move.
    factors = np.divide(np.linalg.norm(like, axis=1), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    scaled: np.ndarray = within * factors[:, None]
    return scaled


def _measure(lens: Lens, tokenizer: Tokenizer, part: Sequence[Pair], layer: int, moves: Moves) -> list[Row]:
    """Return the rows of one batch of prompts. The blocks above `layer` get one copy of the batch for each move, and
    those below it are computed once."""
    wanted = [pair.wanted for pair in part]
    batch = make_batch(wanted * len(moves))
    added = mx.array(np.concatenate(list(moves.values())).astype(np.float32))

    def move(states: mx.array) -> mx.array:
        return states.at[batch.rows, batch.positions].add(added)

    states = lens.hidden(batch.ids[: len(part)], len(moves), layer, {layer: move})
    # The edit changes what the next block gets, not the recorded state of the layer itself.
    last = move(states[-1]) if layer == lens.blocks - 1 else states[-1]
    told = read_answers(lens, tokenizer, wanted * len(moves), at(last, batch.rows, batch.positions))
    ends = np.cumsum([pair.spots for pair in part])[:-1]
    rows = []
    for k, ((subspace, strength), by_spot) in enumerate(moves.items()):
        lengths = [float(one.mean()) for one in np.split(np.linalg.norm(by_spot, axis=1), ends)]
        for i, pair in enumerate(part):
            prompt, answer = pair.base.prompt, told[k * len(part) + i]
            about = {"prompt_id": pair.number, "tier": prompt.tier, "template": prompt.template}
            about |= {"operation": prompt.operation, "operands": prompt.operands, "seen": prompt.seen}
            place = {"layer": layer, "subspace": subspace, "strength": strength}
            found = {"source_nll": answer.nll, "source_right": answer.right}
            rows.append({**about, **place, **found, "moved": lengths[i]})
    return rows


def _of_cell(cell: MeasuredCell) -> dict[str, list[Row]]:
    """Measure a cell on prompts of the tiers that either stage trained on, which it answers right with their
    sources."""
    unit, size = cell.unit, cell.unit.evaluation.batch_size
    if not cell.readouts:
        return {}  # with w = 0, of a model that can read none of the names: there is no cell to be held against
    both = _right_pairs(cell)
    chosen = first_of_each({pair.number: pair.base for pair in both}, unit.evaluation.causal_prompts)
    pairs = [pair for pair in both if pair.number in chosen]
    if not pairs:
        return {}
    operations = list(cell.class_ids)
    prompts = task_of(unit.stage_one.data).fitting_prompts(operations, FITTING_PAIRS, unit.stage_one.seed)
    fitting = [encode(cell.tokenizer, prompt) for prompt in prompts]
    sources = _rotated(fitting, len(operations))
    fitting_pairs = [Pair(-1, one, other) for one, other in zip(fitting, sources, strict=True)]
    tokens, seed = cell.class_ids, unit.stage_one.seed
    return {
        "interchange": interchange(
            cell.model, cell.tokenizer, pairs, fitting_pairs, tokens, unit.intervened, size, seed, cell.translators
        )
    }


def _right_pairs(cell: MeasuredCell) -> list[Pair]:
    """Return the prompts with their sources, of another answer, of which both are answered right."""
    unit, source_of = cell.unit, following(cell.class_ids)
    tiers = {*unit.wordings, *unit.stage_one.stage1.wordings}
    task = task_of(unit.stage_one.data)
    right = {cell.encoded[row["prompt_id"]].prompt.text: bool(row["right"]) for row in cell.taken["answers"]}
    pairs = []
    for number, item in cell.encoded.items():
        prompt = item.prompt
        if prompt.tier in tiers and prompt.operation in source_of and right[prompt.text]:
            other = task.counterfactual(prompt, source_of[prompt.operation])
            if other.answer != prompt.answer:  # as those of 2 + 2 and 2 * 2: nothing could be seen to move
                pairs.append(Pair(number, item, encode(cell.tokenizer, replace(other, seen=prompt.seen))))
    # In a custom task a source may be a prompt that is not evaluated.
    further = {pair.source.prompt.text: pair.source for pair in pairs if pair.source.prompt.text not in right}
    if further:
        told = answered_right(cell.model, cell.tokenizer, list(further.values()), unit.evaluation.batch_size)
        right |= dict(zip(further, told, strict=True))
    return [pair for pair in pairs if right[pair.source.prompt.text]]


def _rotated(encoded: Sequence[Encoded], size: int) -> list[Encoded]:
    """Return prompts, which are in groups of one of each operation, with the next of its group in the place of each."""
    groups = [encoded[start : start + size] for start in range(0, len(encoded), size)]
    return [item for group in groups for item in [*group[1:], group[0]]]


MEASURE = Measure("intervene", lambda unit: bool(unit.intervened), _of_cell)
