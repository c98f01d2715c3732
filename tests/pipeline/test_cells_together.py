"""Cells that one process carries out together, against the same cells one by one."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pandas as pd
import psutil
import pytest

from study.config.arms import ARMS
from study.config.catalogue import Model
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.stages import Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, StageOne, Unit
from study.config.wordings import templates
from study.lens.tokens import Encoded
from study.pipeline import cells as together
from study.pipeline import gates, held_model
from study.pipeline.units import run_unit, run_units
from study.plan.expand import expand
from study.results.store import Ending, Store
from study.tasks.arithmetic import prompt_of
from tests.pipeline.test_units import assert_same_rows, link_stage_one

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., Study]
PAIRS: list[Any] = [{"multiply": "multiply", "add": "add"}, {"multiply": "river", "add": "copper"}]
UNKNOWN: Any = {"multiply": "zyzzyva", "add": "add"}


@pytest.fixture(scope="module")
def cells_of(tiny: Model, tiny_study: MakeStudy) -> Callable[..., list[Cell]]:
    """The cells of a tiny study; keywords replace its settings."""

    def make(**changes: Any) -> list[Cell]:
        units = expand(tiny_study(**changes), {"tiny-llama": tiny})
        return [unit for unit in units if isinstance(unit, Cell)]

    return make


@pytest.fixture(scope="module")
def trained(cells_of: Callable[..., list[Cell]], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A stage 1 that all cells here begin with."""
    results = tmp_path_factory.mktemp("results")
    assert run_unit(cells_of()[0].stage_one, results).state == "done"
    return Store(results)


@pytest.fixture
def store(trained: Store, cells_of: Callable[..., list[Cell]], tmp_path: Path) -> Store:
    link_stage_one(trained, Store(tmp_path), cells_of()[0].stage_one)
    return Store(tmp_path)


def three(cells_of: Callable[..., list[Cell]]) -> list[Cell]:
    """w = 0, and two cells of other layers, pairs and weights."""
    without, *others = cells_of(grid=Grid(layers=[1, 3], pairs=PAIRS, weights=[0.0, 0.3, 0.8]))
    assert others[0].layer != others[-1].layer
    return [without, others[0], others[-1]]


def states(outcomes: list[Ending]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def stacked(store: Store, cell: Cell) -> set[int]:
    return set(pd.read_parquet(store.folder(cell) / "curves.parquet").stacked)


@pytest.mark.parametrize("at_once", [8, 2])
def test_cells_side_by_side_publish_the_rows_of_each_alone_however_many_fit(
    cells_of: Callable[..., list[Cell]], store: Store, trained: Store, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    cells = three(cells_of)
    for cell in cells:
        assert run_unit(cell, trained.root).state == "done"
    monkeypatch.setattr(held_model, "fitting", lambda bench, cell, encoded: at_once)
    assert states(run_units(cells, store.root)) == ["done"] * 3
    assert [stacked(store, cell) for cell in cells] == ([{3}] * 3 if at_once == 8 else [{2}, {2}, {1}])
    for cell in cells:
        assert_same_rows(store, trained, cell)
    assert not list((store.root / "tmp").iterdir())


def test_cells_of_every_arm_side_by_side_publish_the_rows_of_each_alone(
    cells_of: Callable[..., list[Cell]], store: Store, trained: Store
) -> None:
    # Those with other rows of the unembedding do not stack with the rest.
    arms = [name for name, arm in ARMS.items() if arm.class_rows == "own"]
    every = cells_of(grid=Grid(layers=[1], pairs=PAIRS[:1], weights=[0.5], arms=arms))
    assert [cell.arm for cell in every] == arms
    for cells in ([cell for cell in every if cell.until_fitted == which] for which in (True, False)):
        assert len(cells) > 1
        assert states(run_units(cells, store.root)) == ["done"] * len(cells)
        for cell in cells:
            assert stacked(store, cell) == {len(cells)}
            assert run_unit(cell, trained.root).state == "done"
            assert_same_rows(store, trained, cell)


def test_the_memory_that_is_free_bounds_the_cells_at_once_and_one_always_fits(
    cells_of: Callable[..., list[Cell]], trained: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells_of()[0]
    bench = held_model.with_stage_one(cell.stage_one, trained, [], [])
    free = psutil.virtual_memory()
    item = Encoded(prompt_of(templates("symbolic")[0], "add", 2, 3), (1,) * 40, (2,) * 5)

    def fitting(available: float) -> int:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=int(available)))
        return held_model.fitting(bench, cell, [item])

    assert fitting(0) == fitting(1e6) == 1
    assert fitting(2e9) == pytest.approx(2 * fitting(1e9), abs=1)
    assert fitting(1e9) > 8


def test_a_class_name_of_several_tokens_skips_its_cell_of_a_stack_alone(
    cells_of: Callable[..., list[Cell]], store: Store
) -> None:
    good, bad, other = cells_of(grid=Grid(layers=[1], pairs=[PAIRS[0], UNKNOWN, PAIRS[1]], weights=[0.5]))
    outcomes = run_units([good, bad, other], store.root)
    assert states(outcomes) == ["done", "skipped", "done"]
    assert outcomes[1].reason == store.status(bad).reason
    assert outcomes[1].reason.startswith("token: class name 'zyzzyva' is not a single token")
    assert stacked(store, good) == stacked(store, other) == {2}


def test_a_stack_of_nothing_but_skipped_cells_trains_nothing(cells_of: Callable[..., list[Cell]], store: Store) -> None:
    cells = cells_of(grid=Grid(layers=[1, 2], pairs=[UNKNOWN], weights=[0.5]))
    assert states(run_units(cells, store.root)) == ["skipped"] * 2
    assert not list((store.root / "tmp").iterdir())


def test_a_cell_that_diverges_in_a_stack_fails_and_its_neighbours_finish_as_without_it(
    cells_of: Callable[..., list[Cell]], store: Store, trained: Store
) -> None:
    def pick(layer: int, rate: float) -> Cell:
        grid = Grid(layers=[layer], pairs=PAIRS[:1], weights=[0.5])
        stage2 = Stage2(steps=12, warmup_steps=0).model_copy(update={"learning_rate": rate, "clip_norm": 1e30})
        (cell,) = cells_of(grid=grid, stage2=stage2)
        return cell

    cells = [pick(0, 1e-3), pick(1, 1e30), pick(2, 2e-3)]
    outcomes = run_units(cells, store.root)
    assert states(outcomes) == ["done", "failed", "done"]
    assert outcomes[1].reason.startswith("TrainingError: step ")
    assert not store.folder(cells[1]).exists()
    assert states(run_units([cells[0], cells[2]], trained.root)) == ["done", "done"]
    for cell in (cells[0], cells[2]):
        assert_same_rows(store, trained, cell)


def test_a_cell_whose_evaluation_fails_is_alone_in_failing(
    cells_of: Callable[..., list[Cell]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = three(cells_of)
    real = together._encoding_gates

    def check(bench: Any, encoded: Any, readouts: Any) -> Any:
        if [readout for readout, _ in readouts] == cells[1].readouts:
            raise gates.GateError("a gate of one cell")
        return real(bench, encoded, readouts)

    monkeypatch.setattr(together, "_encoding_gates", check)
    assert states(run_units(cells, store.root)) == ["done", "failed", "done"]
    assert [store.status(cell).state for cell in cells] == ["done", "failed", "done"]
    assert len(list((store.root / "unfinished").glob("*.json"))) == 1


def test_what_is_wrong_with_the_model_fails_every_cell_of_the_stack(
    cells_of: Callable[..., list[Cell]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_model.clear()
    monkeypatch.setattr(gates, "LENS_LIMIT", -1.0)
    cells = three(cells_of)
    assert {outcome.reason[:10] for outcome in run_units(cells, store.root)} == {"GateError:"}
    assert {store.status(cell).state for cell in cells} == {"failed"}


def test_cells_that_are_done_already_are_left_out_of_their_stack(
    cells_of: Callable[..., list[Cell]], store: Store
) -> None:
    without, first, second = three(cells_of)
    assert run_unit(first, store.root).state == "done"
    outcomes = run_units([without, first, second], store.root)
    assert outcomes[1] == Ending("done", "was finished before", 0.0)
    assert states(outcomes) == ["done"] * 3
    assert stacked(store, without) == stacked(store, second) == {2}


def test_an_error_that_nobody_expects_leaves_no_attempt_and_no_half_changed_model(
    cells_of: Callable[..., list[Cell]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = three(cells_of)
    with monkeypatch.context() as patch:
        patch.setattr("study.training.loop.clip_each", lambda gradients, limit: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_units(cells, store.root)
    assert not list((store.root / "tmp").iterdir())
    assert {store.status(cell).state for cell in cells} == {"run"}
    assert states(run_units(cells, store.root)) == ["done"] * 3


def test_units_that_do_not_stack_are_refused(tiny: Model, tiny_study: MakeStudy, tmp_path: Path) -> None:
    first, reference, predictors, *cells = expand(tiny_study(), {"tiny-llama": tiny})
    mixed: list[list[Unit]] = [[first, reference], [reference, predictors], [predictors, cells[0]], [first, *cells]]
    for units in mixed:
        with pytest.raises(ValueError, match=r"these units do not stack: tiny-llama\|"):
            run_units(units, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _without_collector() -> Iterator[None]:
    """Python's collector of cycles comes by when it likes; what is given back without it is given back at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("seeds", [pytest.param([0], id="one model"), pytest.param([0, 1], id="two models in turn")])
def test_a_workers_memory_does_not_grow_from_stack_to_stack(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path, seeds: list[int]
) -> None:
    held_model.clear()
    study = tiny_study(
        grid=Grid(
            layers=[0, 1, 2, 3], pairs=PAIRS[:1], weights=[round(0.04 * i, 2) for i in range(1, 11)], seeds=seeds
        ),
        stage1=Stage1(steps=2, batch_size=4),
        stage2=Stage2(steps=3),
        evaluation=Evaluation(prompts_per_class=2, batch_size=8),
    )
    units = expand(study, {"tiny-llama": tiny})
    cells: dict[int, list[Cell]] = {seed: [] for seed in seeds}
    for unit in units:
        if isinstance(unit, StageOne):
            assert run_unit(unit, tmp_path).state == "done"
        elif isinstance(unit, Cell):
            cells[unit.stage_one.seed].append(unit)
    active, resident = [], []
    for turn in range(20):
        of_seed = cells[seeds[turn % len(seeds)]]
        stack = [of_seed.pop(), of_seed.pop()]
        assert states(run_units(stack, tmp_path)) == ["done", "done"]
        active.append(mx.get_active_memory())
        resident.append(psutil.Process().memory_info().rss)
    assert max(active[3:]) <= 1.01 * active[2], active
    assert max(resident[3:]) <= 1.15 * resident[2], resident
