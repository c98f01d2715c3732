"""Whole units of work in this process, without Ray: stage 1, the reference read-outs, or cells side by side."""

import math
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import study.models  # noqa: F401 - loads the BLAS before MLX

# isort: split
from study import adapters, workbench
from study.arithmetic import Prompt, evaluation_prompts, prompt
from study.cells import Cell, Reference, StageOne, Unit, pair_name
from study.config import Evaluation, Operation, TokenPair
from study.encoding import (
    ClassToken,
    ClassTokenError,
    Encoded,
    EncodingError,
    check_templates,
    class_tokens,
    encode,
)
from study.evaluation import evaluate
from study.lens import LensError
from study.models import ModelError
from study.notebook import Notebook, timed
from study.objectives import ClassLoss
from study.stacks import divide, stack_key
from study.store import Outcome, Store, write_rows
from study.training import Objective, Row, Trained, TrainingError, train
from study.workbench import Bench, Gate, GateError

EXPECTED = (
    adapters.AdapterError,
    ClassTokenError,
    EncodingError,
    GateError,
    LensError,
    ModelError,
    TrainingError,
)
"""What a unit can fail of by its settings or its model; anything else is a fault of the program or the machine."""

Readouts = list[tuple[TokenPair, dict[Operation, ClassToken]]]


def run_unit(unit: Unit, results: Path) -> Outcome:
    """Carry out one unit and publish it; what it needs of earlier units is read from `results`."""
    return run_units([unit], results)[0]


def run_units(units: Sequence[Unit], results: Path) -> list[Outcome]:
    """Carry out one unit, or cells that stack, and publish each; how each ended, in their order.

    A class name that is not one token skips a cell, an expected error fails the unit it belongs to; both are recorded.
    """
    if len({stack_key(unit) for unit in units}) > 1:
        raise ValueError(f"these units do not stack: {', '.join(unit.label for unit in units)}")
    store = Store(results)
    outcomes = {unit.id: Outcome("done", "was finished before", 0.0) for unit in units if store.is_done(unit)}
    todo = [unit for unit in units if unit.id not in outcomes]
    notes: list[Notebook] = []
    try:
        for unit in todo:
            notes.append(Notebook(unit, store.begin(unit)))
        for note in _carry_out(notes, store):
            if note.error is None:
                note.finish()
                store.publish(note.folder, note.unit)
            outcomes[note.unit.id] = _recorded(note, store)
    except BaseException:
        workbench.clear()  # a model that was left half-way would be wrong for the next unit
        raise
    finally:
        for note in notes:
            store.abandon(note.folder)
    return [outcomes[unit.id] for unit in units]


def _carry_out(notes: list[Notebook], store: Store) -> Iterator[Notebook]:
    """Each notebook once, when its unit has ended."""
    left = list(notes)
    try:
        for note in _run(notes, store) if notes else ():
            left.remove(note)
            yield note
    except EXPECTED as error:  # of the model that all of them need
        workbench.clear()
        for note in left:
            note.error = error
            yield note


def _run(notes: list[Notebook], store: Store) -> Iterator[Notebook]:
    unit = notes[0].unit
    if isinstance(unit, Cell):
        yield from _cells(notes, store)
    elif isinstance(unit, StageOne):
        yield _stage_one(unit, notes[0])
    else:
        yield _reference(unit, store, notes[0])


def _recorded(note: Notebook, store: Store) -> Outcome:
    seconds = sum(note.seconds.values())
    if note.error is None:
        return Outcome("done", "finished", seconds)
    state: Literal["skipped", "failed"] = "skipped" if isinstance(note.error, ClassTokenError) else "failed"
    reason = f"token: {note.error}" if state == "skipped" else f"{type(note.error).__name__}: {note.error}"
    store.record(
        note.unit, state, reason, "" if state == "skipped" else "".join(traceback.format_exception(note.error))
    )
    return Outcome(state, reason, seconds)


def _stage_one(unit: StageOne, note: Notebook) -> Notebook:
    settings = unit.stage1
    with note.timed("load"):
        bench = workbench.base(unit, _probe(unit))
    with note.timed("train"):
        (trained,) = train(
            bench.model,
            bench.tokenizer,
            settings,
            unit.data,
            unit.data.operations,
            [Objective(settings.learning_rate)],
            unit.seed,
            lambda _, row: note.on_step("stage 1", settings.steps, row),
        )
    if trained.error:
        raise trained.error
    adapters.save(bench.model, settings.lora, trained.weights, note.folder)
    write_rows(note.folder / "curves.parquet", trained.curve)
    workbench.fuse(bench, unit, trained.weights, _probe(unit))
    note.gates = bench.gates
    return note


def _reference(unit: Reference, store: Store, note: Notebook) -> Notebook:
    first = unit.stage_one
    operations = list(first.data.operations)
    with note.timed("load"):
        bench = workbench.base(first, _probe(first))
    encoded = _evaluation_set(bench, first, operations, unit.evaluation)
    readouts = _readouts(bench, unit.pairs, encoded, note, skip=True)
    before = _evaluate(bench, encoded, readouts, unit.evaluation, "baseline", note)
    with note.timed("load"):
        workbench.fuse(bench, first, adapters.load(store.folder(first)), _probe(first))
    after = _evaluate(bench, encoded, readouts, unit.evaluation, "stage1", note)
    for i, name in enumerate(("answers", "lens")):
        write_rows(note.folder / f"{name}.parquet", [*before[i], *after[i]])
    note.gates = bench.gates
    return note


def _cells(notes: list[Notebook], store: Store) -> Iterator[Notebook]:
    """Cells that stack: read what they share once, train them side by side, then evaluate and end one by one."""
    units = [note.unit for note in notes if isinstance(note.unit, Cell)]
    shared = units[0]
    first = shared.stage_one
    with timed(notes, "load"):
        bench = workbench.fused(first, store.folder(first), _probe(first))
    encoded = _evaluation_set(bench, first, shared.operations, shared.evaluation)
    ready: list[tuple[Cell, Notebook, Readouts]] = []
    for unit, note in zip(units, notes, strict=True):
        try:
            ready.append((unit, note, _readouts(bench, unit.pairs, encoded, note, skip=unit.pair is None)))
        except ClassTokenError as error:
            note.error = error
            yield note
    trained_on = [item for item in encoded.values() if item.prompt.tier in shared.stage2.wordings]
    at_once = workbench.fitting(bench, shared, max(len(item.prompt_ids) for item in trained_on))
    for part in divide(ready, math.ceil(len(ready) / at_once)) if ready else []:
        for (unit, note, readouts), trained in zip(part, _train_cells(bench, part), strict=True):
            note.error = trained.error
            if trained.error is None:
                try:
                    _write_cell(bench, unit, note, encoded, readouts, trained)
                except EXPECTED as error:  # of this cell alone
                    note.error = error
                    adapters.take_off(bench.model)
            yield note


def _train_cells(bench: Bench, part: Sequence[tuple[Cell, Notebook, Readouts]]) -> list[Trained]:
    shared, notes = part[0][0], [note for _, note, _ in part]
    objectives = []
    for unit, _, readouts in part:
        target = None
        if unit.layer is not None:
            target = ClassLoss(unit.layer, unit.weight, {name: token.id for name, token in readouts[0][1].items()})
        objectives.append(Objective(unit.stage2.learning_rate, target))
    with timed(notes, "train"):
        return train(
            bench.model,
            bench.tokenizer,
            shared.stage2,
            shared.stage_one.data,
            shared.operations,
            objectives,
            shared.stage_one.seed,
            lambda cell, row: notes[cell].on_step("stage 2", shared.stage2.steps, row),
        )


def _write_cell(
    bench: Bench, unit: Cell, note: Notebook, encoded: dict[int, Encoded], readouts: Readouts, trained: Trained
) -> None:
    """Evaluate one trained cell and write all that is kept of it."""
    adapters.put(bench.model, unit.stage2.lora, trained.weights)
    answers, lens = _evaluate(bench, encoded, readouts, unit.evaluation, "stage2", note)
    adapters.take_off(bench.model)
    adapters.save(bench.model, unit.stage2.lora, trained.weights, note.folder)
    for name, rows in (("curves", trained.curve), ("answers", answers), ("lens", lens)):
        write_rows(note.folder / f"{name}.parquet", rows)
    note.gates = [*bench.gates, *_encoding_gates(bench, encoded, readouts)]


def _encoding_gates(bench: Bench, encoded: dict[int, Encoded], readouts: Readouts) -> list[Gate]:
    """What the encoder has refused already, counted again on the ids that this cell was trained and read with."""
    tokens = [token for _, by_operation in readouts for token in by_operation.values()]
    split = sum(bench.tokenizer.encode(token.text, add_special_tokens=False) != [token.id] for token in tokens)
    moved = 0
    for item in encoded.values():
        whole = bench.tokenizer.encode(f"{item.prompt.text} {item.prompt.answer}")
        moved += tuple(whole) != (*item.prompt_ids, *item.answer_ids[:-1])
    return [
        workbench.checked(Gate("class names that are not one token", split, 0)),
        workbench.checked(Gate("prompts that are no prefix of prompt and answer", moved, 0)),
    ]


def _probe(unit: StageOne) -> list[Prompt]:
    """The prompts that gates are checked on."""
    numbers = (unit.data.smallest, unit.data.largest)
    return [prompt("semantic", operation, 0, *numbers[::-1]) for operation in unit.data.operations]


def _evaluation_set(
    bench: Bench, unit: StageOne, operations: list[Operation], evaluation: Evaluation
) -> dict[int, Encoded]:
    """Held-out prompts of some operations by their number among those of all operations, the same in every unit."""
    prompts = evaluation_prompts(unit.data, unit.data.operations, evaluation.prompts_per_class, unit.seed)
    return {i: encode(bench.tokenizer, item) for i, item in enumerate(prompts) if item.operation in operations}


def _readouts(
    bench: Bench, pairs: list[TokenPair], encoded: dict[int, Encoded], note: Notebook, skip: bool
) -> Readouts:
    """Class tokens of each pair; where several pairs are read out, one that has none is left out and noted."""
    readouts: Readouts = []
    for pair in pairs:
        try:
            tokens = class_tokens(bench.tokenizer, pair)
            check_templates(list(encoded.values()), tokens)
        except ClassTokenError as error:
            if not skip:
                raise
            note.tokens[pair_name(pair)] = {"skipped": str(error)}
            continue
        readouts.append((pair, tokens))
        note.tokens[pair_name(pair)] = {operation: asdict(token) for operation, token in tokens.items()}
    return readouts


def _evaluate(
    bench: Bench, encoded: dict[int, Encoded], readouts: Readouts, evaluation: Evaluation, stage: str, note: Notebook
) -> tuple[list[Row], list[Row]]:
    with note.timed("evaluate"):
        return evaluate(
            bench.model,
            bench.tokenizer,
            encoded,
            readouts,
            evaluation.batch_size,
            stage,
            lambda done: note.progress("evaluation", done, len(encoded)),
        )
