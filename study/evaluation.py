"""Answers and lens read-outs of a model on held-out prompts, as one row a prompt (and layer and pair)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float, Int

from study.cells import pair_name
from study.config import Operation, TokenPair
from study.encoding import ClassToken, Encoded, Tokenizer, continues_number, ends_answer
from study.lens import Lens, at, attached
from study.objectives import Batch, make_batch

Row = dict[str, Any]

LENS_CELLS = 2**25
"""Logits held at a time by the lens read-out: 128 MiB in float32."""


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
        logits = lens.read_out(states[start : start + size]).astype(mx.float32)
        targets = batch.targets[start : start + size, None]
        loss = _log_sum_exp(logits) - mx.take_along_axis(logits, targets, axis=1)[:, 0]
        best = mx.argmax(logits, axis=-1)
        mx.eval(loss, best)
        losses += np.array(loss).tolist()
        greedy += np.array(best).tolist()
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
    for start in range(0, len(chunk), size):
        part = chunk[start : start + size]
        flat = states[start : start + size].reshape(-1, states.shape[-1])
        logits = lens.read_out(flat).astype(mx.float32)
        total = _log_sum_exp(logits)
        for pair, tokens in readouts:
            place = {operation: k for k, operation in enumerate(tokens)}
            ids = mx.array([token.id for token in tokens.values()])
            right = mx.array([place.get(item.prompt.operation, 0) for _, item in part])
            figures = _figures(logits, total, ids, mx.repeat(right, lens.blocks))
            columns = {name: np.array(f).reshape(len(part), lens.blocks).tolist() for name, f in figures.items()}
            for i, (number, item) in enumerate(part):
                if item.prompt.operation not in tokens:
                    continue
                about = {**_about(number, item, stage), "pair": pair_name(pair)}
                rows += [
                    {**about, "layer": layer, **{name: values[i][layer] for name, values in columns.items()}}
                    for layer in range(lens.blocks)
                ]
    return rows


def _log_sum_exp(logits: Float[mx.array, "n vocab"]) -> Float[mx.array, " n"]:
    if mx.default_device() != mx.Device(mx.cpu):
        return mx.logsumexp(logits, axis=-1)
    # MLX's exp is not vectorised on x86: 20 ns a value against numpy's 2. Row by row, a row stays in the cache.
    values = np.array(logits, copy=False)
    row, sums = np.empty(values.shape[1], np.float32), np.empty(len(values), np.float32)
    top = values.max(axis=1)
    for i in range(len(values)):
        np.exp(np.subtract(values[i], top[i], out=row), out=row)
        sums[i] = row.sum()
    return mx.array(np.log(sums) + top)


def _figures(
    logits: Float[mx.array, "n vocab"],
    total: Float[mx.array, " n"],
    ids: Int[mx.array, " k"],
    right: Int[mx.array, " n"],
) -> dict[str, mx.array]:
    """log p, rank, margin, log mass and choice of the right one of the class tokens `ids`, over the full vocabulary."""
    classes = logits[:, ids]
    of_right = mx.take_along_axis(classes, right[:, None], axis=1)
    others = mx.where(mx.arange(len(ids))[None] == right[:, None], -mx.inf, classes).max(axis=1)
    margin = of_right[:, 0] - others
    figures = {
        "log_p": of_right[:, 0] - total,
        "rank": (logits > of_right).sum(axis=1),
        "margin": margin,
        "log_mass": mx.logsumexp(classes, axis=1) - total,
        "choice": margin > 0,
    }
    mx.eval(figures)
    return figures
