"""Controls, which go on training until their class loss is low enough: alone, in a stack, compiled, and resumed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.config.catalogue import Model
from study.config.grid import Grid
from study.config.stages import RUNNING_STEPS, Lora, Stage2
from study.config.study import Study
from study.config.units import Cell
from study.models.load import Loaded, load
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.schema import Row
from study.results.store import Store
from study.training.checkpoints import State
from study.training.loop import Callbacks, Objective, Trained, TrainingData, train
from study.training.objectives import ClassLoss
from tests.pipeline.test_units import link_stage_one
from tests.training.test_loop import DATA, OPERATIONS, assert_same
from tests.training.test_resuming import assert_same as of_resumed
from tests.training.test_resuming import finished, interrupted

pytestmark = pytest.mark.slow

STEPS, MOST = 8, 48
SETTINGS = Stage2(
    steps=STEPS, warmup_steps=4, weight_decay=0.01, lora=Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
)


@pytest.fixture(scope="module")
def loaded(tiny: Model) -> Loaded:
    return load(tiny)


def objective(layer: int | None, fitted: float | None, rate: float = 1e-3, shuffled: bool = False) -> Objective:
    target = None if layer is None else ClassLoss(layer, 0.5, {"multiply": 50, "add": 60}, shuffled=shuffled)
    return Objective(rate, target, None, fitted, MOST)


def run(
    loaded: Loaded,
    *objectives: Objective,
    compiled: bool | None = None,
    callbacks: Callbacks = Callbacks(),  # noqa: B008
    start: Sequence[State] = (),
) -> list[Trained]:
    data = TrainingData(DATA, OPERATIONS, 0)
    return train(loaded.model, loaded.tokenizer, SETTINGS, data, objectives, callbacks, start, compiled)


def running(curve: Sequence[Row]) -> list[float]:
    """The mean of the last class losses, by numpy, after each step."""
    losses = np.array([row["class_loss"] for row in curve])
    return [float(losses[max(0, n - RUNNING_STEPS) : n].mean()) for n in range(1, len(losses) + 1)]


@pytest.fixture(scope="module")
def longest(loaded: Loaded) -> dict[int, list[Row]]:
    """By layer, the curve of a training that never fits."""
    return {layer: run(loaded, objective(layer, 0.0))[0].curve for layer in (1, 2)}


def just_reached(curve: Sequence[Row], step: int) -> float:
    """A loss that the running mean reaches at this step for the first time."""
    means = running(curve)
    assert means[step - 1] < min(means[STEPS - 1 : step - 1])
    return (means[step - 1] + min(means[STEPS - 1 : step - 1])) / 2


def test_a_control_that_never_fits_trains_to_its_largest_number_of_steps(longest: dict[int, list[Row]]) -> None:
    assert all([row["step"] for row in curve] == list(range(1, MOST + 1)) for curve in longest.values())


@pytest.mark.parametrize("step", [STEPS + 1, RUNNING_STEPS - 1, RUNNING_STEPS + 7, MOST])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_control_ends_at_the_first_step_whose_running_mean_is_low_enough(
    loaded: Loaded, longest: dict[int, list[Row]], step: int, compiled: bool
) -> None:
    fitted = just_reached(longest[1], step)
    (cell,) = run(loaded, objective(1, fitted), compiled=compiled)
    assert len(cell.curve) == step
    means = running(cell.curve)
    assert means[-1] <= fitted
    assert all(mean > fitted for mean in means[STEPS - 1 : -1])


def test_a_control_that_has_fitted_before_trains_its_steps_all_the_same(loaded: Loaded) -> None:
    (cell,) = run(loaded, objective(1, 10.0**3))
    assert len(cell.curve) == STEPS


def test_a_cell_that_is_no_control_never_trains_longer(loaded: Loaded) -> None:
    for plain in (objective(1, None), objective(None, None)):
        assert len(run(loaded, plain)[0].curve) == STEPS
    beside, control = run(loaded, objective(1, None), objective(2, 0.0))
    assert (len(beside.curve), len(control.curve)) == (STEPS, MOST)


@pytest.mark.parametrize("compiled", [False, True])
def test_cells_of_a_stack_that_end_at_different_steps_are_what_they_are_alone(
    loaded: Loaded, longest: dict[int, list[Row]], compiled: bool
) -> None:
    objectives = [
        objective(1, just_reached(longest[1], 30)),
        objective(2, just_reached(longest[2], 21)),
        objective(None, None, 5e-4),
        objective(2, 0.0, shuffled=True),
    ]
    stacked = run(loaded, *objectives, compiled=compiled)
    assert [len(cell.curve) for cell in stacked] == [30, 21, STEPS, MOST]
    together = [4] * STEPS + [3] * (21 - STEPS) + [2] * 9 + [1] * (MOST - 30)
    assert [row["stacked"] for row in stacked[3].curve] == together
    for one, cell in zip(objectives, stacked, strict=True):
        assert_same(cell, *run(loaded, one, compiled=compiled))


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_resumed_before_or_after_a_cell_has_ended_equals_what_ran_through(
    loaded: Loaded, longest: dict[int, list[Row]], compiled: bool
) -> None:
    objectives = [objective(1, just_reached(longest[1], 27)), objective(2, 0.0), objective(1, None, 5e-4)]
    saved: dict[int, dict[int, State]] = {}
    callbacks = Callbacks(
        save_every=10, save=lambda cell, state: saved.setdefault(cell, {}).update({state.step: state})
    )
    whole = run(loaded, *objectives, callbacks=callbacks, compiled=compiled)
    assert [len(cell.curve) for cell in whole] == [27, MOST, STEPS]
    # Each has its own last step beside those at which all are saved.
    assert {cell: list(states) for cell, states in saved.items()} == {
        0: [10, 20, 27],
        1: [10, 20, 30, 40, 48],
        2: [8],
    }
    for steps in ({0: 20, 1: 20}, {0: 27}, {1: 30}, {1: 48}, {2: 8}):
        start = [saved[cell][step] for cell, step in steps.items()]
        resumed = run(loaded, *(objectives[cell] for cell in steps), start=start, compiled=compiled)
        for cell, again in zip(steps, resumed, strict=True):
            assert [row["step"] for row in again.curve] == [row["step"] for row in whole[cell].curve]
            assert_same(again, whole[cell], tolerance=1e-5)


def test_a_neighbour_that_diverges_does_not_end_a_control(loaded: Loaded, longest: dict[int, list[Row]]) -> None:
    wild = Objective(1e30, ClassLoss(1, 0.5, {"multiply": 50, "add": 60}), None, 0.0, MOST)
    fitted = just_reached(longest[1], 25)
    dropped, control = run(loaded, wild, objective(1, fitted))
    assert dropped.error
    assert not dropped.weights
    assert len(control.curve) == 25


def test_a_stack_of_controls_that_is_stopped_after_one_has_ended_goes_on_with_the_other_alone(
    tiny: Model, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    """Published units, against each control alone and without an interruption."""
    pairs = [{"multiply": "multiply", "add": "add"}]
    grid = Grid(layers=[1], pairs=pairs, weights=[0.5], arms=["shuffled_labels", "swapped_tokens"])

    def controls(fitted: float) -> list[Cell]:
        study = tiny_study(grid=grid, stage2=SETTINGS.model_copy(update={"fitted_loss": fitted, "control_times": 6}))
        return [unit for unit in expand(study, {"tiny-llama": tiny}) if isinstance(unit, Cell)]

    calm, store = Store(tmp_path / "calm"), Store(tmp_path / "stopped")
    first = controls(0.0)[0].stage_one
    assert run_unit(first, calm.root).state == "done"
    link_stage_one(calm, store, first)
    finished(controls(0.0), calm, every=0)
    lowest = []
    for cell in controls(0.0):
        curve = pd.read_parquet(calm.folder(cell) / "curves.parquet")
        assert len(curve) == MOST
        lowest.append(min(running(curve.to_dict("records"))[STEPS - 1 : 26]))
    stack = controls(1.001 * min(lowest))  # a stack rounds otherwise than a cell alone
    for cell in stack:
        finished([cell], calm, every=0)
    ends = sorted(len(pd.read_parquet(calm.folder(cell) / "curves.parquet")) for cell in stack)
    assert STEPS < ends[0] <= 26 < ends[1]
    interrupted(stack, store, at=ends[1], every=1)
    assert finished(stack, store, every=1) == [ends[1]]
    for cell in stack:
        of_resumed(store, calm, cell)
