"""Trainings that are interrupted and run again, against the same ones that ran through."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.config.catalogue import Model
from study.config.grid import Grid
from study.config.stages import Lora, Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, Unit
from study.models import ModelError
from study.models.load import Loaded, load
from study.pipeline import cells as together
from study.pipeline import held_model
from study.pipeline.units import run_unit, run_units
from study.plan.expand import expand
from study.results.store import Store
from study.training import adapters
from study.training.checkpoints import State
from study.training.loop import Callbacks, Objective, Trained, TrainingData, train
from study.training.objectives import ClassLoss
from tests.pipeline.test_units import assert_same_rows, done, link_stage_one
from tests.training.test_loop import DATA, OPERATIONS, WILD

pytestmark = pytest.mark.slow

STEPS, EVERY = 12, 5
LORA = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
STAGE_2 = Stage2(steps=STEPS, learning_rate=2e-4, warmup_steps=8, weight_decay=0.01, lora=LORA)
PAIRS: Any = [{"multiply": "multiply", "add": "add"}]
ARMS: Any = ["plain", "lora_below", "lora_at", "detached_answer"]
WITH_ANSWERS = Grid(layers=[1], pairs=PAIRS, weights=[0.0, 0.5], arms=ARMS)
CLASS_ALONE = Grid(layers=[1], pairs=PAIRS, weights=[1.0], arms=ARMS[:2])

MakeUnits = Callable[..., list[Unit]]


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch_steps(patch: pytest.MonkeyPatch, at: int | None = None, stop: Callable[[], None] = interrupt) -> list[int]:
    """The steps that are begun, in all stacks; at one of them training is stopped."""
    begun: list[int] = []

    drawn = TrainingData.batch

    def batch(data: TrainingData, tokenizer: Any, step: int, size: int) -> Any:
        if step == at:
            stop()
        begun.append(step)
        return drawn(data, tokenizer, step, size)

    patch.setattr(TrainingData, "batch", batch)
    return begun


def interrupted(units: Sequence[Unit], store: Store, at: int, every: int = EVERY) -> None:
    with pytest.MonkeyPatch.context() as patch:
        watch_steps(patch, at)
        with pytest.raises(KeyboardInterrupt):
            run_units(units, store.root, every)
    assert not list((store.root / "tmp").iterdir())


def killed(units: Sequence[Unit], store: Store, at: int, every: int = EVERY) -> None:
    """In a process of its own, which is killed as step `at` begins."""
    process = multiprocessing.get_context("spawn").Process(target=_killed, args=(units, store.root, at, every))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((store.root / "tmp").iterdir())) == len(units)
    shutil.rmtree(store.root / "tmp")


def _killed(units: Sequence[Unit], results: Path, at: int, every: int) -> None:
    watch_steps(pytest.MonkeyPatch(), at, kill)
    run_units(units, results, every)


def finished(units: Sequence[Unit], store: Store, every: int = EVERY) -> list[int]:
    """Run the units to their end; the steps that this took."""
    with pytest.MonkeyPatch.context() as patch:
        begun = watch_steps(patch)
        assert {outcome.state for outcome in run_units(units, store.root, every)} == {"done"}
    return begun


def checkpoints(store: Store) -> set[str]:
    return {file.name for file in (store.root / "checkpoints").glob("*")}


def files_of(units: Sequence[Unit], store: Store) -> set[str]:
    return {store.checkpoint(unit).name for unit in units}


def steps(first: int) -> list[int]:
    return list(range(first, STEPS + 1))


def assert_same(one: Store, other: Store, unit: Unit) -> None:
    """The same adapter and the same rows, but for times."""
    ours, theirs = (adapters.load(store.folder(unit)) for store in (one, other))
    assert ours.keys() == theirs.keys() != set()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], atol=1e-5, rtol=0, err_msg=name)
    if isinstance(unit, Cell):
        assert_same_rows(one, other, unit)
        watched = unit.layer is not None and not unit.until_fitted
        assert (one.folder(unit) / "onset.parquet").is_file() == watched
    else:
        curves = [pd.read_parquet(store.folder(unit) / "curves.parquet") for store in (one, other)]
        pd.testing.assert_frame_equal(*(curve.drop(columns="seconds") for curve in curves), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def units_of(tiny: Model, tiny_study: Callable[..., Study]) -> MakeUnits:
    """The units of a grid; keywords replace settings of stage 2."""
    stage_1 = Stage1(steps=STEPS, batch_size=4, learning_rate=3e-4, warmup_steps=8)

    def make(grid: Grid, **changes: Any) -> list[Unit]:
        study = tiny_study(stage1=stage_1, stage2=STAGE_2.model_copy(update=changes), grid=grid)
        return expand(study, {"tiny-llama": tiny})

    return make


@pytest.fixture(scope="module")
def calm(units_of: MakeUnits, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """All of it without an interruption and without a checkpoint."""
    store = Store(tmp_path_factory.mktemp("calm"))
    first, *_ = units_of(WITH_ANSWERS)
    assert finished([first], store, every=0) == steps(1)
    for grid in (WITH_ANSWERS, CLASS_ALONE):
        assert finished(cells(units_of(grid)), store, every=0) == steps(1)
    assert not (store.root / "checkpoints").exists()
    return store


@pytest.fixture
def store(calm: Store, units_of: MakeUnits, tmp_path: Path) -> Store:
    """Stage 1 alone."""
    link_stage_one(calm, Store(tmp_path), units_of(WITH_ANSWERS)[0])
    return Store(tmp_path)


@pytest.fixture
def mixed(units_of: MakeUnits) -> list[Cell]:
    """Cells that stack: w = 0, and three arms."""
    return cells(units_of(WITH_ANSWERS))


def cells(units: Sequence[Unit]) -> list[Cell]:
    return [unit for unit in units if isinstance(unit, Cell)]


@pytest.mark.parametrize("stopped", [interrupted, killed])
def test_a_stage_1_that_is_stopped_goes_on_and_ends_as_one_that_ran_through(
    calm: Store, units_of: MakeUnits, tmp_path: Path, stopped: Callable[..., None]
) -> None:
    store, first = Store(tmp_path), units_of(WITH_ANSWERS)[0]
    stopped([first], store, at=9)
    assert checkpoints(store) == files_of([first], store)
    assert finished([first], store) == steps(EVERY + 1)
    assert_same(store, calm, first)
    assert checkpoints(store) == set()
    assert (done(store, first)["resumed_at_step"], done(calm, first)["resumed_at_step"]) == (EVERY, 0)
    assert (
        done(store, first)["seconds"]["train"] > pd.read_parquet(store.folder(first) / "curves.parquet").seconds.sum()
    )


@pytest.mark.parametrize("stopped", [interrupted, killed])
@pytest.mark.parametrize("grid", [WITH_ANSWERS, CLASS_ALONE], ids=["with answers", "class alone"])
def test_a_stack_of_all_arms_that_is_stopped_goes_on_and_ends_as_one_that_ran_through(
    calm: Store, store: Store, units_of: MakeUnits, grid: Grid, stopped: Callable[..., None]
) -> None:
    stack = cells(units_of(grid))
    stopped(stack, store, at=9)
    assert checkpoints(store) == files_of(stack, store)
    assert finished(stack, store) == steps(EVERY + 1)
    for cell in stack:
        assert_same(store, calm, cell)
        assert done(store, cell)["resumed_at_step"] == EVERY
    assert checkpoints(store) == set()


def test_a_training_may_be_stopped_again_and_again(calm: Store, store: Store, mixed: list[Cell]) -> None:
    for at in (3, 6, 11):
        interrupted(mixed[:2], store, at, every=2)
    assert finished(mixed[:2], store, every=2) == steps(11)
    for cell in mixed[:2]:
        assert_same(store, calm, cell)


def test_cells_of_a_stopped_stack_go_on_alone_as_they_would_in_it(calm: Store, store: Store, mixed: list[Cell]) -> None:
    interrupted(mixed, store, at=9)
    for cell in mixed[1:4]:
        assert finished([cell], store) == steps(EVERY + 1)
        assert_same(store, calm, cell)


def test_cells_that_stand_at_different_steps_go_on_in_stacks_of_the_same_step(
    calm: Store, store: Store, mixed: list[Cell]
) -> None:
    interrupted(mixed[:3], store, at=9)
    interrupted(mixed[:1], store, at=11)
    assert finished(mixed[:4], store) == [*steps(11), *steps(6), *steps(1)]
    for cell in mixed[:4]:
        assert_same(store, calm, cell)
    stacked = [pd.read_parquet(store.folder(cell) / "curves.parquet").stacked.tolist() for cell in mixed[:4]]
    assert stacked == [[3] * 5 + [1] * 7, *[[3] * 5 + [2] * 7] * 2, [1] * 12]


def test_what_is_stopped_while_it_is_evaluated_is_not_trained_again(
    calm: Store, store: Store, mixed: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = together._write_cell

    def write(bench: Any, unit: Cell, *others: Any) -> None:
        if unit is mixed[1]:
            raise KeyboardInterrupt
        real(bench, unit, *others)

    with monkeypatch.context() as patch:
        patch.setattr(together, "_write_cell", write)
        with pytest.raises(KeyboardInterrupt):
            run_units(mixed[:3], store.root, EVERY)
    assert checkpoints(store) == files_of(mixed[1:3], store)
    assert finished(mixed[:3], store) == []
    for cell in mixed[:3]:
        assert_same(store, calm, cell)


def test_a_torn_checkpoint_is_told_and_its_cell_alone_begins_at_the_start(
    calm: Store, store: Store, mixed: list[Cell], caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(mixed[:3], store, at=9)
    torn = store.checkpoint(mixed[1])
    torn.write_bytes(torn.read_bytes()[:1000])
    assert finished(mixed[:3], store) == [*steps(6), *steps(1)]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        f"{torn} cannot be used, training starts at its first step"
    ]
    for cell in mixed[:3]:
        assert_same(store, calm, cell)
    assert [done(store, cell)["resumed_at_step"] for cell in mixed[:3]] == [5, 0, 5]


def test_a_checkpoint_of_other_settings_is_never_used(
    store: Store, units_of: MakeUnits, caplog: pytest.LogCaptureFixture
) -> None:
    cell, other, third = (
        cells(units_of(WITH_ANSWERS, learning_rate=rate))[1] for rate in (STAGE_2.learning_rate, 5e-4, 2e-3)
    )
    interrupted([cell], store, at=9)
    assert finished([other], store) == steps(1)
    assert caplog.records == []
    assert checkpoints(store) == files_of([cell], store)
    store.checkpoint(cell).rename(store.checkpoint(third))
    assert finished([third], store) == steps(1)
    assert f"it is of the unit {cell.id}, not of {third.id}" in caplog.text


def test_without_checkpoints_nothing_is_written_and_a_stopped_training_begins_anew(
    calm: Store, store: Store, mixed: list[Cell]
) -> None:
    interrupted(mixed[:1], store, at=9, every=0)
    assert not (store.root / "checkpoints").exists()
    assert finished(mixed[:1], store, every=0) == steps(1)
    assert_same(store, calm, mixed[0])


def test_a_cell_that_diverged_leaves_no_checkpoint_to_diverge_from_again(store: Store, units_of: MakeUnits) -> None:
    wild = {"learning_rate": 3.0, "warmup_steps": 0, "clip_norm": WILD, "weight_decay": 10.0}  # a factor of -29
    cell = cells(units_of(WITH_ANSWERS, steps=25, **wild))[1]
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            begun = watch_steps(patch)
            (outcome,) = run_units([cell], store.root, 1)
        assert outcome.reason.startswith("TrainingError: step ")
        assert begun == list(range(1, len(begun) + 1))
        assert 2 < len(begun) < 25  # there was a checkpoint before
        assert checkpoints(store) == set()


def test_a_model_that_cannot_be_had_costs_no_checkpoint(
    calm: Store, store: Store, mixed: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(mixed[:1], store, at=9)

    def missing(model: Model, identity: Any) -> Loaded:
        raise ModelError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(held_model, "load", missing)
        assert run_unit(mixed[0], store.root).reason == "ModelError: no network"
    assert finished(mixed[:1], store) == steps(EVERY + 1)
    assert_same(store, calm, mixed[0])


@pytest.mark.parametrize("compiled", [False, True])
def test_training_from_a_state_ends_as_training_that_ran_through_to_the_bit(tiny: Model, compiled: bool) -> None:
    loaded = load(tiny)
    tokens: Any = {"multiply": 5, "add": 6}
    objectives = [Objective(1e-2), Objective(5e-3, ClassLoss(1, 0.5, tokens), adapted=range(2))]
    saved: dict[int, list[State]] = {}

    def run(callbacks: Callbacks = Callbacks(), start: Sequence[State] = ()) -> list[Trained]:  # noqa: B008
        return train(
            loaded.model,
            loaded.tokenizer,
            STAGE_2,
            TrainingData(DATA, OPERATIONS, 0),
            objectives,
            callbacks,
            start,
            compiled,
        )

    whole = run(Callbacks(save_every=EVERY, save=lambda cell, state: saved.setdefault(state.step, []).append(state)))
    assert list(saved) == [5, 10, 12]
    for states in saved.values():
        for one, other in zip(whole, run(start=states), strict=True):
            assert [row["loss"] for row in one.curve] == [row["loss"] for row in other.curve]
            assert [row["step"] for row in other.curve] == steps(1)
            for name, value in one.weights.items():
                np.testing.assert_array_equal(value, other.weights[name], err_msg=name)
