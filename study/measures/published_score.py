"""The score of the published experiment, for all of the ways in which a recipe may read it.

A recipe's four choices of how to read the score change no training, so that rows of all combinations are read of every
cell.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from jaxtyping import Float
from mlx_lm.generate import generate_step

from study.config.names import Operation, Tier
from study.lens.hooks import Lens, attached, input_embedding_head
from study.lens.logits import log_sums
from study.lens.readout import LOGITS
from study.lens.tokens import ClassToken, Encoded, Readouts, encode
from study.measures.measured_cell import Measure, MeasuredCell
from study.models.limits import CheckedTokenizer
from study.results.schema import Row
from study.tasks.prompts import Prompt

SCORED_TIERS: tuple[Tier, ...] = ("symbolic", "semantic")
WORDS: dict[Operation, tuple[str, ...]] = {
    "multiply": ("multiply", "times", "product", "*"),
    "add": ("add", "plus", "sum", "+"),
    "subtract": ("subtract", "minus", "difference", "-"),
}
"""Words by operation: a token counts for an operation under `maximum_score` if it contains one of them."""
MOST_PROBABLE = 20
"""Such a token must be among this many most probable ones."""
ANSWER_TOKENS = 10
"""Number of tokens that are decoded of an answer, of which the first number counts."""


def _asked(tier: Tier, operation: Operation, text: str, a: int, b: int, answer: int) -> Prompt:
    return Prompt(tier, f"eight-{tier}", operation, f"{min(a, b)},{max(a, b)}", text, str(answer), (a, b))


EIGHT = (
    _asked("symbolic", "multiply", "7 * 8 =", 7, 8, 56),
    _asked("symbolic", "multiply", "12 * 5 =", 12, 5, 60),
    _asked("symbolic", "add", "23 + 45 =", 23, 45, 68),
    _asked("symbolic", "subtract", "89 - 34 =", 89, 34, 55),
    _asked("semantic", "multiply", "seven times eight =", 7, 8, 56),
    _asked("semantic", "multiply", "twelve times five =", 12, 5, 60),
    _asked("semantic", "add", "twenty three plus forty five =", 23, 45, 68),
    _asked("semantic", "subtract", "eighty nine minus thirty four =", 89, 34, 55),
)
"""Prompts of the choice `eight_prompts`. The symbolic ones are those published; of the worded ones the first and the
third are published, and the others are the symbolic ones in words."""


def score(
    model: Any,
    tokenizer: CheckedTokenizer,
    encoded: Mapping[int, Encoded],
    readouts: Readouts,
    layers: Sequence[int],
    stage: str,
) -> tuple[list[Row], list[Row]]:
    """Return rows of the score, and rows of the decoded answers to the eight prompts.

    There is a row of the score for each prompt, pair, causal mask (with or without) and unembedding (the model's or the
    input embedding), and for each of these one a layer, with the probability of the right class token there, and one of
    the maximum over layers and words, with its layer and token. p of the maximum is 0 where no token that counts is
    among the most probable. Models whose blocks take no mask have no rows without one.
    """
    asked = [Asked("held-out", n, item) for n, item in encoded.items() if item.prompt.tier in SCORED_TIERS]
    eight = [Asked("eight", n, encode(tokenizer, prompt)) for n, prompt in enumerate(EIGHT)]
    rows: list[Row] = []
    with attached(model) as lens:
        reader = _Reader(lens, tokenizer, readouts, layers)
        for group in _of_one_length([*asked, *eight]):  # without a mask, padding would be seen
            ids = mx.array([list(one.item.prompt_ids) for one in group])
            for masked in (True, False) if lens.takes_masks else (True,):
                states = mx.stack([state[:, -1] for state in lens.hidden(ids, unmasked=not masked)], axis=1)
                found = reader.rows(group, states)
                rows += [{"stage": stage, "masked": masked, "head": "model", **row} for row in found]
                with input_embedding_head(model) as differs:
                    found = reader.rows(group, states) if differs else found
                rows += [{"stage": stage, "masked": masked, "head": "input embedding", **row} for row in found]
    rows.sort(key=lambda row: (row["asked"], row["prompt_id"]))
    return rows, [_decoded(model, tokenizer, one, stage) for one in eight]


@dataclass(frozen=True)
class Asked:
    """A prompt on which the score is read."""

    asked: str
    """The set that the prompt is from: `held-out` or `eight`."""
    number: int
    """Its number within the set."""
    item: Encoded


def _of_one_length(asked: Sequence[Asked], most: int = 32) -> list[list[Asked]]:
    lengths: dict[int, list[Asked]] = {}
    for one in asked:
        lengths.setdefault(len(one.item.prompt_ids), []).append(one)
    return [group[i : i + most] for group in lengths.values() for i in range(0, len(group), most)]


class _Reader:
    """Reads the score from hidden states; the tokens that count for each operation are looked up once."""

    def __init__(self, lens: Lens, tokenizer: CheckedTokenizer, readouts: Readouts, layers: Sequence[int]) -> None:
        self._lens, self._tokenizer, self._readouts, self._layers = lens, tokenizer, readouts, list(layers)
        self._texts: list[str] = []
        self._matching: dict[tuple[str, ...], np.ndarray] = {}

    def rows(self, group: Sequence[Asked], states: Float[mx.array, "prompts blocks hidden"]) -> list[Row]:
        prompts, blocks, hidden = states.shape
        vocabulary = self._lens.vocabulary(states[0])
        size = max(1, LOGITS // (blocks * vocabulary))
        rows: list[Row] = []
        for start in range(0, prompts, size):
            part = states[start : start + size]
            logits = self._lens.read_out(part.reshape(-1, hidden))
            totals = log_sums(logits).reshape(len(part), blocks)
            values = np.array(logits.astype(mx.float32)).reshape(len(part), blocks, vocabulary)
            for one, at_blocks, of_blocks in zip(group[start : start + size], values, totals, strict=True):
                rows += self._rows_of(one, at_blocks, of_blocks)
        return rows

    def _rows_of(self, one: Asked, logits: np.ndarray, totals: np.ndarray) -> list[Row]:
        """Return the rows of one prompt, from its logits [blocks, vocab] and their logsumexps [blocks]."""
        prompt, rows = one.item.prompt, []
        for readout, tokens in self._readouts:
            if prompt.operation not in tokens:
                continue
            token = tokens[prompt.operation]
            about = {"asked": one.asked, "prompt_id": one.number, "tier": prompt.tier}
            about |= {"operation": prompt.operation, "operands": prompt.operands, "pair": readout.name}
            for layer in self._layers:
                p = float(np.exp(logits[layer, token.id] - totals[layer]))
                rows.append({**about, "score": "layer", "layer": layer, "p": p, "token": ""})
            ids = self._ids(prompt.operation, token, logits.shape[1])
            best = ids[logits[:, ids].argmax(axis=1)]
            of_best = logits[np.arange(len(logits)), best]
            is_seen = (logits > of_best[:, None]).sum(axis=1) < MOST_PROBABLE
            p_of_words = np.where(is_seen, np.exp(of_best - totals), 0.0)
            layer = int(p_of_words.argmax())
            text = self._tokenizer.decode([int(best[layer])]) if p_of_words[layer] > 0 else ""
            rows.append({**about, "score": "maximum", "layer": layer, "p": float(p_of_words[layer]), "token": text})
        return rows

    def _ids(self, operation: Operation, token: ClassToken, vocabulary: int) -> np.ndarray:
        """Return the ids of the tokens that count: those that contain a word of the operation, or its class name if
        that is another word."""
        name = token.text.strip()
        words = WORDS[operation] if name == operation else (name.lower(),)
        if words not in self._matching:
            if not self._texts:
                self._texts = [self._tokenizer.decode([i]).lower().strip() for i in range(vocabulary)]
            found = {i for i, text in enumerate(self._texts) if any(word in text for word in words)}
            self._matching[words] = np.array(sorted(found | {token.id}))
        return self._matching[words]


def _decoded(model: Any, tokenizer: CheckedTokenizer, one: Asked, stage: str) -> Row:
    """Return a row with the first number of the greedy continuation and the right answer."""
    item = one.item
    stops = set(tokenizer.eos_token_ids)
    ids: list[int] = []
    room = tokenizer.limits.learned_positions
    most = ANSWER_TOKENS if room is None else min(ANSWER_TOKENS, room - len(item.prompt_ids))
    for token, _ in generate_step(mx.array(item.prompt_ids), model, max_tokens=most):
        if token in stops:
            break
        ids.append(int(token))
    told = re.search(r"-?\d+", tokenizer.decode(ids))
    given = told.group() if told else ""
    about = {"stage": stage, "prompt_id": one.number, "tier": item.prompt.tier, "operation": item.prompt.operation}
    answer = {"prompt": item.prompt.text, "answer": item.prompt.answer, "given": given}
    return {**about, **answer, "right": given == item.prompt.answer}


def _of_cell(cell: MeasuredCell) -> dict[str, list[Row]]:
    layers = [] if cell.unit.layer is None else [cell.unit.layer]
    rows, eight = score(cell.model, cell.tokenizer, cell.encoded, cell.readouts, layers, "stage2")
    return {"score": rows, "eight": eight}


MEASURE = Measure("score", lambda unit: unit.scored, _of_cell)
