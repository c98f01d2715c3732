"""Answers and lens read-outs of a model on held-out prompts, as one row a prompt (and layer and pair)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Bool, Float

from study.cells import pair_name
from study.config import Operation, TokenPair
from study.encoding import ClassToken, Encoded, Tokenizer, continues_number, ends_answer
from study.lens import Lens, at, attached
from study.objectives import Batch, make_batch
from study.vocabulary import summarise

Row = dict[str, Any]

LENS_CELLS = 2**26
"""Logits held at a time by the lens read-out: 256 MiB in float32, some hundred rows of a large vocabulary."""


def evaluate(
    model: nn.Module,
    tokenizer: Tokenizer,
    encoded: Mapping[int, Encoded],
    readouts: Sequence[tuple[TokenPair, dict[Operation, ClassToken]]],
    batch_size: int,
    stage: str,
    on_prompts: Callable[[int], None] = lambda done: None,
) -> tuple[list[Row], list[Row]]:
    """Rows of answers and rows of the lens, the latter for every layer and every pair of `readouts`.

    `encoded` is by prompt id, which pairs the rows of one prompt across stages and cells.

    An answer is right when the greedy continuation is the number and then a stop. Teacher forcing gives that
    verdict in one pass: greedy decoding yields exactly the answer's tokens if and only if each is the most
    likely one after those before it.
    """
    answers: list[Row] = []
    lenses: list[Row] = []
    numbered = sorted(encoded.items(), key=lambda item: len(item[1].prompt_ids) + len(item[1].answer_ids))
    with attached(model) as lens:
        for start in range(0, len(numbered), batch_size):
            chunk = numbered[start : start + batch_size]
            batch = make_batch([item for _, item in chunk])
            states = lens.hidden(batch.ids)
            at_answers = at(states[-1], batch.rows, batch.positions)
            at_last = mx.stack([at(state, batch.all_rows, batch.last) for state in states], axis=1)
            mx.eval(at_answers, at_last)
            answers += _answer_rows(lens, tokenizer, chunk, batch, at_answers, stage)
            lenses += _lens_rows(lens, chunk, at_last, readouts, stage)
            on_prompts(min(start + batch_size, len(numbered)))
    answers.sort(key=lambda row: row["prompt_id"])
    lenses.sort(key=lambda row: (row["prompt_id"], row["pair"], row["layer"]))
    return answers, lenses


def _about(number: int, item: Encoded, stage: str) -> Row:
    prompt = item.prompt
    return {
        "stage": stage,
        "prompt_id": number,
        "tier": prompt.tier,
        "template": prompt.template,
        "operation": prompt.operation,
        "operands": prompt.operands,
    }


def _answer_rows(
    lens: Lens,
    tokenizer: Tokenizer,
    chunk: Sequence[tuple[int, Encoded]],
    batch: Batch,
    states: Float[mx.array, "m hidden"],
    stage: str,
) -> list[Row]:
    losses: list[float] = []
    greedy: list[int] = []
    size = max(1, LENS_CELLS // lens.vocabulary)
    for start in range(0, len(states), size):
        logits = lens.read_out(states[start : start + size])
        targets = batch.targets[start : start + size, None]
        totals, _ = summarise(logits, np.array(targets))
        chosen = np.array(mx.take_along_axis(logits, targets, axis=1).astype(mx.float32))[:, 0]
        losses += (totals - chosen).tolist()
        greedy += np.array(mx.argmax(logits, axis=-1)).tolist()
    rows, spot = [], 0
    for number, item in chunk:
        length = len(item.answer_ids)
        best_ids, nll = greedy[spot : spot + length], sum(losses[spot : spot + length])
        spot += length
        digits_right = tuple(best_ids[:-1]) == item.answer_ids[:-1]
        rows.append(
            {
                **_about(number, item, stage),
                "a": item.prompt.a,
                "b": item.prompt.b,
                "prompt": item.prompt.text,
                "answer": item.prompt.answer,
                "right": digits_right and ends_answer(tokenizer, best_ids[-1]),
                "number_right": digits_right and not continues_number(tokenizer, best_ids[-1]),
                "nll": nll,
                "tokens": length,
            }
        )
    return rows


def _lens_rows(
    lens: Lens,
    chunk: Sequence[tuple[int, Encoded]],
    states: Float[mx.array, "batch blocks hidden"],
    readouts: Sequence[tuple[TokenPair, dict[Operation, ClassToken]]],
    stage: str,
) -> list[Row]:
    """One pass of the head over all layers serves every pair."""
    rows: list[Row] = []
    size = max(1, LENS_CELLS // (lens.vocabulary * lens.blocks))
    ids = [token.id for _, tokens in readouts for token in tokens.values()]
    for start in range(0, len(chunk) if readouts else 0, size):
        part = chunk[start : start + size]
        # Where a pair leaves a prompt's operation out, its first class stands in, and the row is left out below.
        right = [
            [(tokens.get(item.prompt.operation) or _first(tokens)).id for _, tokens in readouts] for _, item in part
        ]
        logits = lens.read_out(states[start : start + size].reshape(-1, states.shape[-1]))
        totals, ranks = summarise(logits, np.repeat(np.array(right), lens.blocks, axis=0))
        classes = np.array(logits[:, mx.array(ids)].astype(mx.float32))
        spot = 0
        for p, (pair, tokens) in enumerate(readouts):
            own = classes[:, spot : spot + len(tokens)]
            is_right = (
                np.array(ids[spot : spot + len(tokens)]) == np.repeat([row[p] for row in right], lens.blocks)[:, None]
            )
            spot += len(tokens)
            figures = {**_figures(own, is_right, totals), "rank": ranks[:, p]}
            columns = {name: f.reshape(len(part), lens.blocks).tolist() for name, f in figures.items()}
            for i, (number, item) in enumerate(part):
                if item.prompt.operation not in tokens:
                    continue
                about = {**_about(number, item, stage), "pair": pair_name(pair)}
                rows += [
                    {**about, "layer": layer, **{name: values[i][layer] for name, values in columns.items()}}
                    for layer in range(lens.blocks)
                ]
    return rows


def _first(tokens: Mapping[Operation, ClassToken]) -> ClassToken:
    return next(iter(tokens.values()))


def _figures(
    classes: Float[np.ndarray, "n k"], is_right: Bool[np.ndarray, "n k"], totals: Float[np.ndarray, " n"]
) -> dict[str, np.ndarray]:
    """log p, margin, log mass and choice of the right one of k class tokens, over the full vocabulary."""
    of_right = classes[is_right]
    margin = of_right - np.where(is_right, -np.inf, classes).max(axis=1)
    mass = np.logaddexp.reduce(classes, axis=1)
    return {"log_p": of_right - totals, "margin": margin, "log_mass": mass - totals, "choice": margin > 0}
