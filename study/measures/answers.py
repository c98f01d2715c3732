"""Answers and read-outs of the lens on held-out prompts: one row a prompt, or a prompt, layer and pair."""

from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float

from study.config.wordings import NEUTRAL
from study.lens.hooks import Lens, at, attached
from study.lens.logits import log_sums
from study.lens.readout import Answer, class_places, read_answers, read_classes
from study.lens.sequences import rest_of_names
from study.lens.tokens import Encoded, Readouts, Tokenizer
from study.lens.translators import Translators
from study.measures.measured_cell import Measure, MeasuredCell, first_of_each
from study.results.schema import Row
from study.training.objectives import make_batch

Numbered = tuple[int, Encoded]
"""The id of a prompt, and the prompt."""

BATCHES = 8
"""Number of batches whose states are read out together: the more rows a product has, the less each costs."""


def evaluate(
    model: nn.Module,
    tokenizer: Tokenizer,
    encoded: Mapping[int, Encoded],
    readouts: Readouts,
    batch_size: int,
    stage: str,
    layers: Mapping[int, Sequence[int]] | None = None,
    on_prompts: Callable[[int], None] = lambda done: None,
    translators: Translators | None = None,
) -> tuple[list[Row], list[Row]]:
    """Return rows of answers and rows of the lens, the latter for every pair of `readouts`.

    `encoded` and `layers` are by prompt id, which identifies a prompt in all stages and cells; `layers` are those at
    which the lens is read, None for all. An answer is right if greedy decoding gives it and then stops; prompts without
    one have rows without verdicts. `on_prompts` is called with the number of prompts that are done.
    """
    answers: list[Row] = []
    lenses: list[Row] = []
    numbered = sorted(encoded.items(), key=lambda item: len(item[1].prompt_ids) + len(item[1].answer_ids))
    done = 0
    with attached(model, translators) as lens:
        for group in _parts(numbered, batch_size * BATCHES):
            at_last, at_answers = [], []
            for chunk in _parts(group, batch_size):
                batch = make_batch([item for _, item in chunk])
                states = lens.hidden(batch.ids)
                at_last.append(mx.stack([at(state, batch.all_rows, batch.last) for state in states], axis=1))
                at_answers.append(at(states[-1], batch.rows, batch.positions))
                del states
                mx.eval(at_last[-1], at_answers[-1])
                done += len(chunk)
                on_prompts(done)
            items = [item for _, item in group]
            answered = all(item.prompt.answer for item in items)
            verdicts: Sequence[Answer | None] = [None] * len(items)
            if answered:
                verdicts = read_answers(lens, tokenizer, items, mx.concatenate(at_answers))
            answers += [
                _answer_row(number, item, verdict, stage)
                for (number, item), verdict in zip(group, verdicts, strict=True)
            ]
            layers_of = layers or _all_layers(lens, group)
            read = lens.translated_all(mx.concatenate(at_last))
            lenses += _lens_rows(lens, group, read, readouts, layers_of, stage, batch_size)
    answers.sort(key=lambda row: row["prompt_id"])
    lenses.sort(key=lambda row: (row["prompt_id"], row["pair"], row["layer"]))
    return answers, lenses


def text_log_probs(model: nn.Module, tokenizer: Tokenizer) -> Float[np.ndarray, "positions vocab"]:
    """Return the log-probabilities of the next token along the neutral text, nats."""
    logits = model(mx.array([tokenizer.encode(NEUTRAL)])).squeeze(0).astype(mx.float32)
    log_probs: np.ndarray = np.array(logits) - log_sums(logits)[:, None]
    return log_probs


def divergence(before: Float[np.ndarray, "positions vocab"], after: Float[np.ndarray, "positions vocab"]) -> float:
    """Return KL(before || after) in nats, the mean over the positions."""
    return float((np.exp(before) * (before - after)).sum(axis=1, dtype=np.float64).mean())


def _parts(numbered: Sequence[Numbered], size: int) -> list[Sequence[Numbered]]:
    return [numbered[start : start + size] for start in range(0, len(numbered), size)]


def _all_layers(lens: Lens, chunk: Sequence[Numbered]) -> dict[int, Sequence[int]]:
    return {number: range(lens.blocks) for number, _ in chunk}


def _about(number: int, item: Encoded, stage: str) -> Row:
    prompt = item.prompt
    return {
        "stage": stage,
        "prompt_id": number,
        "tier": prompt.tier,
        "template": prompt.template,
        "operation": prompt.operation,
        "operands": prompt.operands,
        "seen": prompt.seen,
    }


def _answer_row(number: int, item: Encoded, answer: Answer | None, stage: str) -> Row:
    prompt = item.prompt
    asked = {**dict(zip("ab", prompt.numbers, strict=False)), "prompt": prompt.text, "answer": prompt.answer}
    verdict = {name: getattr(answer, name, None) for name in ("right", "number_right", "nll")}
    return {**_about(number, item, stage), **asked, **verdict, "tokens": len(item.answer_ids)}


def _lens_rows(
    lens: Lens,
    chunk: Sequence[Numbered],
    states: Float[mx.array, "batch blocks hidden"],
    readouts: Readouts,
    layers: Mapping[int, Sequence[int]],
    stage: str,
    batch_size: int,
) -> list[Row]:
    """Return the rows of the lens for every pair, from one product of the states with the unembedding, and from others
    where class names are read as sequences."""
    points = [(i, layer) for i, (number, _) in enumerate(chunk) for layer in layers[number]]
    if not points or not readouts:
        return []
    items, at_layers = (mx.array(column) for column in zip(*points, strict=True))
    places = [class_places([chunk[i][1] for i, _ in points], tokens) for _, tokens in readouts]
    ids = [[token.id for token in tokens.values()] for _, tokens in readouts]
    rests = {
        p: rest_of_names(lens, [item for _, item in chunk], points, tokens, batch_size)
        for p, (_, tokens) in enumerate(readouts)
        if any(token.rest for token in tokens.values())
    }
    read = read_classes(lens, states[items, at_layers], ids, places, rests)
    rows: list[Row] = []
    for (readout, tokens), figures in zip(readouts, read, strict=True):
        columns = {name: values.tolist() for name, values in figures.items()}
        for k, (i, layer) in enumerate(points):
            number, item = chunk[i]
            if item.prompt.operation in tokens:
                about = {**_about(number, item, stage), "pair": readout.name, "layer": layer}
                rows.append({**about, **{name: values[k] for name, values in columns.items()}})
    return rows


def _of_cell(cell: MeasuredCell) -> dict[str, list[Row]]:
    """Measure a cell; the lens is read at all layers on the profile prompts, else at the trained and the last one."""
    layers = None
    if cell.unit.layer is not None:
        blocks = len(cell.model.layers)
        few = sorted({cell.unit.layer, blocks - 1})
        profile = first_of_each(cell.encoded, cell.unit.evaluation.profile_prompts)
        layers = {number: range(blocks) if number in profile else few for number in cell.encoded}
    size = cell.unit.evaluation.batch_size
    answers, lens = evaluate(
        cell.model,
        cell.tokenizer,
        cell.encoded,
        cell.readouts,
        size,
        "stage2",
        layers,
        cell.on_prompts,
        cell.translators,
    )
    return {"answers": answers, "lens": lens}


MEASURE = Measure("evaluate", lambda unit: True, _of_cell)
