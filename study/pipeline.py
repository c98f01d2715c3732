"""Whole units of work in this process, without Ray: stage 1, what is measured before stage 2, or cells side by side."""

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import study.models  # noqa: F401 - loads the BLAS before MLX

# isort: split
from study import adapters, predictors, workbench
from study.cells import Cell, Predictors, Reference, StageOne, Unit
from study.checkpoints import Checkpoint
from study.config import RaySettings
from study.encoding import ClassTokenError, encode
from study.evaluation import divergence, text_log_probs
from study.measuring import class_readouts, evaluate_stage, evaluation_set, first_of_each, probe
from study.models import ModelError
from study.notebook import Notebook
from study.side_by_side import EXPECTED, run_cells
from study.stacks import stack_key
from study.store import Outcome, Store, write_rows
from study.tasks import FITTING_PROMPTS, task_of
from study.training import Objective, train

CHECKPOINT_EVERY = RaySettings().checkpoint_every
"""Steps from one checkpoint to the next, where the caller does not say."""


def run_unit(unit: Unit, results: Path, checkpoint_every: int = CHECKPOINT_EVERY) -> Outcome:
    """Carry out one unit and publish it; what it needs of earlier units is read from `results`."""
    return run_units([unit], results, checkpoint_every)[0]


def run_units(units: Sequence[Unit], results: Path, checkpoint_every: int = CHECKPOINT_EVERY) -> list[Outcome]:
    """Carry out one unit, or cells that stack, and publish each; how each ended, in their order.

    A class name that is not one token skips a cell, an expected error fails the unit it belongs to; both are recorded.
    A training goes on from where an interrupted attempt at the unit saved it, every `checkpoint_every` steps.
    """
    if len({stack_key(unit) for unit in units}) > 1:
        raise ValueError(f"these units do not stack: {', '.join(unit.label for unit in units)}")
    store = Store(results)
    outcomes = {unit.id: Outcome("done", "was finished before", 0.0) for unit in units if store.is_done(unit)}
    todo = [unit for unit in units if unit.id not in outcomes]
    notes: list[Notebook] = []
    try:
        for unit in todo:
            checkpoint = Checkpoint(store.checkpoint(unit), unit.id, checkpoint_every)
            notes.append(Notebook(unit, store.begin(unit), checkpoint))
        for note in _carry_out(notes, store):
            if note.error is None:
                note.finish()
                store.publish(note.folder, note.unit)
            outcomes[note.unit.id] = _recorded(note, store)
            if not isinstance(note.error, ModelError):  # which is no fault of the training
                note.checkpoint.remove()  # so that one that diverged does not go on to diverge
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
        yield from run_cells(notes, store)
    elif isinstance(unit, StageOne):
        yield _stage_one(unit, notes[0])
    elif isinstance(unit, Reference):
        yield _reference(unit, store, notes[0])
    else:
        yield _predictors(unit, store, notes[0])


def _recorded(note: Notebook, store: Store) -> Outcome:
    seconds = sum(note.seconds.values())
    if note.error is None:
        return Outcome("done", "finished", seconds)
    state: Literal["skipped", "failed"] = "skipped" if isinstance(note.error, ClassTokenError) else "failed"
    reason = f"token: {note.error}" if state == "skipped" else f"{type(note.error).__name__}: {note.error}"
    store.record(
        note.unit, state, reason, "" if state == "skipped" else "".join(traceback.format_exception(note.error))
    )
    note.tell(f"{state}: {reason}")
    store.keep_log(note.unit, note.folder)
    return Outcome(state, reason, seconds)


def _stage_one(unit: StageOne, note: Notebook) -> Notebook:
    settings = unit.stage1
    with note.timed("load"):
        bench = workbench.base(unit, probe(unit))
    state = note.resume(adapters.shapes(bench.model, settings.lora))
    with note.timed("train"):
        (trained,) = train(
            bench.model,
            bench.tokenizer,
            settings,
            unit.data,
            unit.data.operations,
            [Objective(settings.learning_rate)],
            unit.seed,
            settings.wordings,
            lambda _, row: note.on_step("stage 1", settings.steps, row),
            start=[state] if state else [],
            save_every=note.checkpoint.every,
            save=lambda _, state: note.checkpoint.save(state),
        )
    if trained.error:
        raise trained.error
    adapters.save(bench.model, settings.lora, trained.weights, note.folder)
    write_rows(note.folder / "curves.parquet", trained.curve)
    workbench.fuse(bench, unit, trained.weights, probe(unit))
    note.gates = bench.gates
    return note


def _reference(unit: Reference, store: Store, note: Notebook) -> Notebook:
    first = unit.stage_one
    operations = list(first.data.operations)
    with note.timed("load"):
        bench = workbench.base(first, probe(first))
    encoded = evaluation_set(bench, first, operations, unit.evaluation)
    readouts = class_readouts(bench, first, unit.readouts, encoded, note, skip=True)
    before = evaluate_stage(bench, encoded, readouts, unit.evaluation, "baseline", note)
    text = text_log_probs(bench.model, bench.tokenizer)
    with note.timed("load"):
        workbench.fuse(bench, first, adapters.load(store.folder(first)), probe(first))
    after = evaluate_stage(bench, encoded, readouts, unit.evaluation, "stage1", note)
    note.text_kl["stage1"] = divergence(text, text_log_probs(bench.model, bench.tokenizer))
    for i, name in enumerate(("answers", "lens")):
        write_rows(note.folder / f"{name}.parquet", [*before[i], *after[i]])
    note.gates = bench.gates
    return note


def _predictors(unit: Predictors, store: Store, note: Notebook) -> Notebook:
    first = unit.stage_one
    operations = list(first.data.operations)
    with note.timed("load"):
        bench = workbench.fused(first, store.folder(first), probe(first))
    encoded = evaluation_set(bench, first, operations, unit.evaluation)
    readouts = class_readouts(bench, first, unit.readouts, encoded, note, skip=True)
    if not readouts:
        raise ClassTokenError("no class name of the study is a single token of this vocabulary")
    fitting = task_of(first.data).fitting_prompts(operations, FITTING_PROMPTS, first.seed)
    with note.timed("measure"):
        rows = predictors.measure(
            bench.model,
            readouts,
            list(first_of_each(encoded, unit.evaluation.profile_prompts).values()),
            [encode(bench.tokenizer, item) for item in fitting],
            unit.lora,
            first.seed,
            unit.evaluation.batch_size,
        )
    write_rows(note.folder / "predictors.parquet", rows)
    note.gates = bench.gates
    return note
