"""Running cells of a stack: shared inputs are read once, the cells train side by side, then each is evaluated."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

from study.config.arms import ARMS
from study.config.names import ClassName, Operation
from study.config.units import Cell, Readout
from study.lens.hooks import LensError
from study.lens.tokens import ClassToken, ClassTokenError, Encoded, Readouts, as_prompted
from study.measures.measured_cell import Measure, MeasuredCell, first_of_each
from study.measures.onset import Onset
from study.models import ModelError
from study.models.limits import EncodingError
from study.pipeline import held_model
from study.pipeline.attempt import Attempt, timed
from study.pipeline.class_rows import class_rows_of_arm
from study.pipeline.evaluation_set import class_readouts, evaluation_set, probe
from study.pipeline.gates import Gate, GateError, checked
from study.pipeline.held_model import HeldModel
from study.plan.prompts import prompts_of
from study.plan.stacks import divide
from study.results.files import write_rows
from study.results.finished import DamagedError
from study.results.schema import Row, measures_of_cells
from study.results.store import Store
from study.results.values import FigureError
from study.tasks.prompts import shuffled_label
from study.training import adapters
from study.training.checkpoints import State
from study.training.loop import Callbacks, Objective, Trained, TrainingData, TrainingError, train
from study.training.objectives import ClassLoss

MEASURES: list[Measure] = [import_module(f"study.measures.{name}").MEASURE for name in measures_of_cells()]
"""Measures of trained cells: those whose tables are declared, in the order of the tables."""
MISREAD: dict[ClassName, str] = {
    "single": "class names that are not one token",
    "first": "class names that begin with another token",
    "sequence": "class names that are other tokens",
}
"""Names of the gate that counts class names of which other tokens would be read."""
EXPECTED = (
    adapters.AdapterError,
    ClassTokenError,
    DamagedError,
    EncodingError,
    FigureError,
    GateError,
    LensError,
    ModelError,
    TrainingError,
)
"""Errors that are due to a unit's settings, model or foundations; others are faults of the program or machine."""


@dataclass(frozen=True)
class _Ready:
    """A cell that can be trained."""

    unit: Cell
    attempt: Attempt
    readouts: Readouts
    state: State | None
    """Last state of an earlier attempt; None to start from the first step."""


def run_cells(attempts: list[Attempt], store: Store) -> Iterator[Attempt]:
    """Run cells of one stack: read what they share, train them side by side, then evaluate them one by one.

    Yields each attempt when it has ended, with its `error` set if it failed.
    """
    units = [attempt.unit for attempt in attempts if isinstance(attempt.unit, Cell)]
    shared = units[0]
    first = shared.stage_one
    with timed(attempts, "load"):
        held = held_model.with_stage_one(first, store, probe(first), prompts_of(shared))
    encoded = evaluation_set(held, first, shared.operations, shared.evaluation, shared)
    shapes = adapters.shapes(held.model, shared.stage2.lora)
    ready: dict[int, list[_Ready]] = {}  # by the steps that are done, which must be equal within a stack
    for unit, attempt in zip(units, attempts, strict=True):
        try:
            own = class_readouts(held, first, unit.readouts, encoded, attempt, skip=unit.pair is None)
            state = attempt.resume(shapes)
            ready.setdefault(state.step if state else 0, []).append(_Ready(unit, attempt, own, state))
        except ClassTokenError as error:
            attempt.error = error
            yield attempt
    trained_on = [item for item in encoded.values() if item.prompt.tier in shared.wordings]
    at_once = held_model.fitting(held, shared, trained_on)
    stacks = [stack for cells in ready.values() for stack in divide(cells, math.ceil(len(cells) / at_once))]
    if held.text is None:  # before an arm sets rows of the head, which other cells of this model do not have
        held.text = held.along_text()
    for stack in stacks:
        with class_rows_of_arm(held.model, held.tokenizer, stack[0].unit, stack[0].readouts):
            yield from _run_stack(held, stack, encoded)


def _run_stack(held: HeldModel, stack: Sequence[_Ready], encoded: dict[int, Encoded]) -> Iterator[Attempt]:
    """Train the cells of a stack side by side, then evaluate them; yield each attempt when it has ended."""
    onset = _onset(held, stack, encoded)
    trainings = _train_cells(held, stack, onset)
    for cell, trained, emerging in zip(stack, trainings, onset.rows, strict=True):
        attempt = cell.attempt
        attempt.error = trained.error
        if trained.error is None:
            try:
                _write_cell(held, cell.unit, attempt, encoded, cell.readouts, trained)
                if emerging:
                    write_rows(attempt.folder / "onset.parquet", emerging)
            except EXPECTED as error:  # concerns this cell only
                attempt.error = error
                adapters.take_off(held.model)
        yield attempt


def _train_cells(held: HeldModel, stack: Sequence[_Ready], onset: Onset) -> list[Trained]:
    shared, attempts = stack[0].unit, [cell.attempt for cell in stack]
    first = shared.stage_one

    def save(cell: int, state: State) -> None:
        attempts[cell].checkpoint.save(replace(state, onset=onset.rows[cell]))

    with timed(attempts, "train"):
        return train(
            held.model,
            held.tokenizer,
            shared.stage2,
            TrainingData(first.data, shared.operations, first.seed, shared.wordings, shared.choices),
            [_objective(cell.unit, cell.readouts) for cell in stack],
            Callbacks(
                on_step=lambda cell, row: attempts[cell].on_step("stage 2", shared.most_steps, row),
                watch=onset.look,
                save_every=attempts[0].checkpoint.every,
                save=save,
            ),
            start=[cell.state for cell in stack if cell.state],
            translators=held.translators,
        )


def _objective(unit: Cell, readouts: Readouts) -> Objective:
    if unit.layer is None:
        return Objective(unit.stage2.learning_rate)
    fitted = unit.stage2.fitted_loss if unit.until_fitted else None
    arm = ARMS[unit.arm]
    target = ClassLoss(
        unit.layer,
        unit.weight,
        _ids(readouts),
        {operation: token.rest for operation, token in readouts[0][1].items() if token.rest},
        shuffled=arm.shuffled_labels,
        detached=not arm.answer_below,
    )
    lowest = 0 if arm.adapters_below else unit.layer
    adapted = range(lowest, unit.stage_one.model.blocks if arm.adapters_above else unit.layer + 1)
    return Objective(unit.stage2.learning_rate, target, adapted, fitted, unit.most_steps)


def _ids(readouts: Readouts) -> dict[Operation, int]:
    """Return the ids of the class tokens that a cell trains."""
    return {operation: token.id for operation, token in readouts[0][1].items()}


def _onset(held: HeldModel, stack: Sequence[_Ready], encoded: dict[int, Encoded]) -> Onset:
    """Return the light evaluations of a stack, with the rows of an earlier attempt. Controls, which train for as long
    as they need, have none."""
    evaluation = stack[0].unit.evaluation
    watched = [cell.unit.layer is not None and not cell.unit.until_fitted for cell in stack]
    tokens = [_ids(cell.readouts) if is_watched else None for cell, is_watched in zip(stack, watched, strict=True)]
    small = list(first_of_each(encoded, evaluation.onset_prompts).values())
    onset = Onset(held.model, small, tokens, evaluation.onset_every)
    for rows, cell in zip(onset.rows, stack, strict=True):
        rows += cell.state.onset if cell.state else []
    return onset


def _write_cell(
    held: HeldModel, unit: Cell, attempt: Attempt, encoded: dict[int, Encoded], readouts: Readouts, trained: Trained
) -> None:
    """Measure one trained cell and write its adapter and rows."""
    adapters.put(held.model, unit.stage2.lora, trained.weights)
    tables: dict[str, list[Row]] = {"curves": trained.curve}
    cell = MeasuredCell(
        held.model,
        held.tokenizer,
        held.translators,
        unit,
        _as_labelled(unit, encoded),
        readouts,
        lambda done: attempt.progress("evaluation", done, len(encoded)),
        tables,
    )
    for measure in MEASURES:
        if measure.applies(unit):
            with attempt.timed(measure.part):
                tables |= measure.rows(cell)
    attempt.compare_text("stage2", held.text, held.along_text())
    adapters.take_off(held.model)
    adapters.save(held.model, unit.stage2.lora, trained.weights, attempt.folder)
    for name, rows in tables.items():
        write_rows(attempt.folder / f"{name}.parquet", rows)
    attempt.take_down(held, _encoding_gates(held, encoded, readouts))


def _as_labelled(unit: Cell, encoded: dict[int, Encoded]) -> dict[int, Encoded]:
    """Return the prompts with the labels that the cell was trained on."""
    if not ARMS[unit.arm].shuffled_labels:
        return encoded
    drawn = {n: shuffled_label(item.prompt, unit.operations, unit.stage_one.seed) for n, item in encoded.items()}
    return {n: replace(item, prompt=replace(item.prompt, label=drawn[n])) for n, item in encoded.items()}


def _is_misread(held: HeldModel, readout: Readout, operation: Operation, token: ClassToken) -> bool:
    """Whether a class name's own tokens are not those that are read."""
    if readout.random or readout.class_name != "first":
        return tuple(held.tokenizer.encode(token.text, add_special_tokens=False)) != token.ids
    name = readout.pair[operation]
    return held.tokenizer.encode(f" {name}" if token.leading_space else name, add_special_tokens=False)[0] != token.id


def _encoding_gates(held: HeldModel, encoded: dict[int, Encoded], readouts: Readouts) -> list[Gate]:
    """Return gates that check the encoder: its conditions are counted again on the ids that this cell used."""
    misread = sum(
        _is_misread(held, readout, operation, token) for readout, own in readouts for operation, token in own.items()
    )
    named = checked(Gate(MISREAD[readouts[0][0].class_name if readouts else "single"], misread, 0))
    if not all(item.prompt.answer for item in encoded.values()):
        return [named]
    moved = 0
    for item in encoded.values():
        _, with_answer, plain = as_prompted(held.tokenizer, item.prompt)
        whole = held.tokenizer.encode(with_answer, add_special_tokens=plain)
        moved += tuple(whole) != (*item.prompt_ids, *item.answer_ids[:-1])
    return [named, checked(Gate("prompts that are no prefix of prompt and answer", moved, 0))]
