"""Running whole units in this process, without Ray: trainings of the nursery, stage 1, measurements before stage 2, or
cells side by side."""

import io
import json
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import mlx.core as mx
from mlx.utils import tree_flatten

from study.config.catalogue import BuiltSource
from study.config.lenses import LENSES
from study.config.study import RaySettings
from study.config.units import Cell, Predictors, Pretraining, Reference, StageOne, Unit, folder_name, foundations, kind
from study.lens.texts import Texts, written
from study.lens.tokens import ClassTokenError, encode
from study.lens.translators import Translators
from study.measures.measured_cell import first_of_each
from study.measures.published_score import score
from study.models import ModelError
from study.models.built import CONFIG, WEIGHTS, build
from study.models.load import load_folder
from study.pipeline import held_model
from study.pipeline.attempt import Attempt
from study.pipeline.before_training import measured_before
from study.pipeline.cells import EXPECTED, run_cells
from study.pipeline.evaluation_set import class_readouts, evaluate_stage, evaluation_set, probe
from study.pipeline.fitted_lenses import fit_lens
from study.pipeline.gates import Gate, checked, lens_gate
from study.pipeline.held_model import LENS, HeldModel
from study.plan.prompts import prompts_of
from study.plan.stacks import stack_key
from study.results.files import write_bytes, write_rows
from study.results.finished import DamagedError
from study.results.schema import Row
from study.results.store import Ending, Store
from study.results.values import FigureError
from study.tasks import text_of
from study.training import adapters
from study.training.checkpoints import MOMENTS, Checkpoint
from study.training.loop import Callbacks, Objective, TrainingData, train
from study.training.objectives import make_batch
from study.training.pretraining import pretrain

CHECKPOINT_EVERY = RaySettings().checkpoint_every
"""Steps between two checkpoints, where the caller does not give them."""


def run_unit(unit: Unit, results: Path, checkpoint_every: int = CHECKPOINT_EVERY) -> Ending:
    """Run one unit and publish it; results of the units that it builds on are read from `results`."""
    return run_units([unit], results, checkpoint_every)[0]


def run_with_foundations(
    unit: Unit, results: Path, checkpoint_every: int = CHECKPOINT_EVERY
) -> Iterator[tuple[Unit, Ending]]:
    """Run the units that this one builds on, then this one; yield each with its ending, and stop if one does not
    finish. A finished one that is damaged is set aside and run again."""
    for one in [*foundations(unit), unit]:
        Store(results).set_aside(kind(one), folder_name(one), thorough=True)
        ending = run_unit(one, results, checkpoint_every)
        yield one, ending
        if ending.state != "done":
            return


def run_units(units: Sequence[Unit], results: Path, checkpoint_every: int = CHECKPOINT_EVERY) -> list[Ending]:
    """Run one unit, or cells that can train in one stack, publish each, and return how each ended, in their order.

    A class name that is not one token skips a cell, and an expected error fails the unit it belongs to; both are
    recorded. Training resumes from the checkpoint of an interrupted attempt; one is written every `checkpoint_every`
    steps. Raises ValueError where the units cannot be run together.
    """
    if len({stack_key(unit) for unit in units}) > 1:
        raise ValueError(f"these units do not stack: {', '.join(unit.label for unit in units)}")
    store = Store(results)
    outcomes = {unit.id: Ending("done", "was finished before", 0.0) for unit in units if store.is_done(unit)}
    todo = [unit for unit in units if unit.id not in outcomes]
    attempts: list[Attempt] = []
    try:
        for unit in todo:
            plain = isinstance(unit, Cell) and "plain_sgd" in unit.choices
            moments = MOMENTS[1:] if plain else MOMENTS
            checkpoint = Checkpoint(store.checkpoint(unit), unit.id, checkpoint_every, moments)
            attempts.append(Attempt(unit, store.begin(unit), checkpoint))
        for attempt in _carry_out(attempts, store):
            if attempt.error is None:
                _finish(attempt, store)
            outcomes[attempt.unit.id] = _recorded(attempt, store)
            if not isinstance(attempt.error, DamagedError | ModelError):  # which are not due to the training
                attempt.checkpoint.remove()  # so that a training that diverged does not resume
    except BaseException:
        held_model.clear()  # a model that was changed half-way would be wrong for the next unit
        raise
    finally:
        for attempt in attempts:
            store.abandon(attempt.folder)
    return [outcomes[unit.id] for unit in units]


def _finish(attempt: Attempt, store: Store) -> None:
    """Publish the attempt; one with a figure that is not finite is not, but gets its error."""
    try:
        attempt.finish()
    except FigureError as error:
        attempt.error = error
    else:
        store.publish(attempt.folder, attempt.unit)


def _carry_out(attempts: list[Attempt], store: Store) -> Iterator[Attempt]:
    """Yield each attempt once, when its unit has ended."""
    left = list(attempts)
    try:
        for attempt in _run(attempts, store) if attempts else ():
            left.remove(attempt)
            yield attempt
    except EXPECTED as error:  # concerns the model that all of them need
        held_model.clear()
        for attempt in left:
            attempt.error = error
            yield attempt


def _run(attempts: list[Attempt], store: Store) -> Iterator[Attempt]:
    unit = attempts[0].unit
    if isinstance(unit, Cell):
        yield from run_cells(attempts, store)
    elif isinstance(unit, Pretraining):
        yield _pretraining(unit, attempts[0])
    elif isinstance(unit, StageOne):
        yield _stage_one(unit, store, attempts[0])
    elif isinstance(unit, Reference):
        yield _reference(unit, store, attempts[0])
    else:
        yield _predictors(unit, store, attempts[0])


def _recorded(attempt: Attempt, store: Store) -> Ending:
    seconds = sum(attempt.seconds.values())
    if attempt.error is None:
        return Ending("done", "finished", seconds)
    state: Literal["skipped", "failed"] = "skipped" if isinstance(attempt.error, ClassTokenError) else "failed"
    reason = f"token: {attempt.error}" if state == "skipped" else f"{type(attempt.error).__name__}: {attempt.error}"
    store.record(
        attempt.unit, state, reason, "" if state == "skipped" else "".join(traceback.format_exception(attempt.error))
    )
    attempt.tell(f"{state}: {reason}")
    store.keep_log(attempt.unit, attempt.folder)
    return Ending(state, reason, seconds)


def _pretraining(unit: Pretraining, attempt: Attempt) -> Attempt:
    """Train a model of the nursery; the attempt's folder is then one that mlx-lm loads."""
    source, settings = unit.model.source, unit.training
    if not isinstance(source, BuiltSource):
        raise ModelError(f"{unit.model_name} is not built locally, so that it cannot be trained from random weights")
    with attempt.timed("load"):
        held_model.clear()
        build(source.model_copy(update={"seed": unit.seed}), unit.model.blocks, attempt.folder)
        loaded = load_folder(attempt.folder, unit.model.blocks)
    weights = dict(tree_flatten(loaded.model.parameters()))
    state = attempt.resume({name: value.shape for name, value in weights.items()})
    with attempt.timed("train"):
        curve = pretrain(
            loaded.model,
            loaded.tokenizer,
            settings,
            text_of(unit.data, unit.words),
            unit.seed,
            lambda row: attempt.on_step("nursery", settings.steps, row),
            state,
            attempt.checkpoint.every,
            attempt.checkpoint.save,
        )
    content = io.BytesIO()
    mx.save_safetensors(content, dict(tree_flatten(loaded.model.parameters())), {"format": "mlx"})
    write_bytes(attempt.folder / WEIGHTS, content.getvalue())
    write_rows(attempt.folder / "curves.parquet", curve)
    ids = make_batch([encode(loaded.tokenizer, prompt) for prompt in probe(unit)]).ids
    seen = Gate("held-out operand pairs that the nursery's training saw", sum(row["held_out"] for row in curve), 0)
    attempt.gates = [checked(lens_gate(loaded.model, ids)), checked(seen)]
    attempt.facts = {
        "parameters": sum(value.size for value in weights.values()),
        "block": sorted({name.rpartition(".")[0] for name, _ in tree_flatten(loaded.model.layers[0].parameters())}),
        "config": json.loads((attempt.folder / CONFIG).read_text()),
    }
    return attempt


def _stage_one(unit: StageOne, store: Store, attempt: Attempt) -> Attempt:
    settings = unit.stage1
    with attempt.timed("load"):
        held = held_model.base(unit, store, probe(unit), prompts_of(unit))
    texts = None
    if unit.lens != "logit":
        with attempt.timed("lens"):  # before stage 1, which makes a model write of little but its task
            texts = written(held.model, held.tokenizer, unit.fitting)
    state = attempt.resume(adapters.shapes(held.model, settings.lora))
    with attempt.timed("train"):
        (trained,) = train(
            held.model,
            held.tokenizer,
            settings,
            TrainingData(unit.data, unit.data.operations, unit.seed, settings.wordings),
            [Objective(settings.learning_rate)],
            Callbacks(
                on_step=lambda _, row: attempt.on_step("stage 1", settings.steps, row),
                save_every=attempt.checkpoint.every,
                save=lambda _, state: attempt.checkpoint.save(state),
            ),
            start=[state] if state else [],
        )
    if trained.error:
        raise trained.error
    adapters.save(held.model, settings.lora, trained.weights, attempt.folder)
    write_rows(attempt.folder / "curves.parquet", trained.curve)
    held_model.add_stage_one(held, unit, trained.weights, probe(unit))
    if texts is not None:
        with attempt.timed("lens"):
            held.translators = _fitted_lens(unit, held, texts, attempt)
    attempt.take_down(held)
    return attempt


def _fitted_lens(unit: StageOne, held: HeldModel, texts: Texts, attempt: Attempt) -> Translators:
    """Fit the lens of a study to the model after stage 1, and write it."""

    def tell(part: float) -> None:
        attempt.progress(LENSES[unit.lens], round(100 * part), 100)

    found = fit_lens(unit.lens, held.model, held.tokenizer, texts, unit.fitting, tell)
    found.save(attempt.folder / LENS)
    about = {name: json.loads(value) if name.startswith("kl") else value for name, value in found.about.items()}
    attempt.lens = {"kind": unit.lens, **about}
    both = zip(about["kl"], about["kl_logit"], strict=True)
    worse = [str(block) for block, (own, logit) in enumerate(both) if own > logit]
    if unit.lens == "tuned" and worse:  # the Jacobian lens does not ask for the next token
        told = (
            f"the tuned lens is further from the model's own prediction than the logit lens at {len(worse)} of "
            f"{len(about['kl'])} blocks ({', '.join(worse)}): more lens_fitting.steps or texts, or a lower "
            "lens_fitting.learning_rate, may mend that"
        )
        attempt.warn([told])
    return found


def _reference(unit: Reference, store: Store, attempt: Attempt) -> Attempt:
    first = unit.stage_one
    operations = list(first.data.operations)
    with attempt.timed("load"):
        held = held_model.base(first, store, probe(first), prompts_of(unit))
        if first.data.answered:
            held.translators = held_model.translators_of(first, store.verified(first))
    encoded = evaluation_set(held, first, operations, unit.evaluation)
    readouts = class_readouts(held, first, unit.readouts, encoded, attempt, skip=True)
    rows: dict[str, list[Row]] = {}

    def measure(stage: str) -> None:
        found: tuple[list[Row], ...] = evaluate_stage(held, encoded, readouts, unit.evaluation, stage, attempt)
        if unit.scored_layers:
            with attempt.timed("score"):
                found += score(held.model, held.tokenizer, encoded, readouts, unit.scored_layers, stage)
        for name, more in zip(("answers", "lens", "score", "eight"), found, strict=False):
            rows.setdefault(name, []).extend(more)

    measure("baseline")
    if first.data.answered:
        text = held.along_text()
        with attempt.timed("load"):
            held_model.add_stage_one(held, first, adapters.load(store.verified(first)), probe(first))
        measure("stage1")
        attempt.compare_text("stage1", text, held.along_text())
    for name, found in rows.items():
        write_rows(attempt.folder / f"{name}.parquet", found)
    attempt.take_down(held)
    return attempt


def _predictors(unit: Predictors, store: Store, attempt: Attempt) -> Attempt:
    first = unit.stage_one
    with attempt.timed("load"):
        held = held_model.with_stage_one(first, store, probe(first), prompts_of(unit))
    encoded = evaluation_set(held, first, list(first.data.operations), unit.evaluation)
    readouts = class_readouts(held, first, unit.readouts, encoded, attempt, skip=True)
    if not readouts:
        raise ClassTokenError("no class name of the study is a single token of this vocabulary")
    profiled = list(first_of_each(encoded, unit.evaluation.profile_prompts).values())
    with attempt.timed("measure"):
        rows = measured_before(
            held.model,
            held.tokenizer,
            first.data,
            readouts,
            profiled,
            unit.lora,
            first.seed,
            unit.evaluation.batch_size,
            held.translators,
        )
    write_rows(attempt.folder / "predictors.parquet", rows)
    attempt.take_down(held)
    return attempt
