"""In what order, and how many at a time, units are submitted."""

import pytest

from actors.driver import _step_of
from actors.queue import Queue
from study.config.grid import Grid, Part
from study.config.study import RaySettings
from study.config.units import Cell, StageOne
from study.plan.expand import expand
from study.plan.order import ranks
from study.plan.stacks import LARGEST_STACK, StackSize
from tests.actors.test_ray import CELLS, MODELS, ONE_MODEL, STUDY, UNITS


def queue(units, slots=2, stack="auto", trained=()):
    return Queue(units, RaySettings(stack=stack), slots, set(trained))


def test_stage_1_of_every_model_goes_first_and_then_cells_stay_with_a_model():
    waiting, order = queue(UNITS, stack=1), []
    while stack := waiting.take():
        order += stack
        if isinstance(stack[0], StageOne):
            waiting.trained.add(stack[0].id)
    assert [unit.label for unit in order[:2]] == ["a|stage1|s0", "b|stage1|s0"]
    assert [unit.label[0] for unit in order[2:]] == ["b", "b", "b", "b", "a", "a", "a", "a"]
    assert [unit.label for unit in order[2:4]] == ["b|reference|s0", "b|predictors|s0"]
    assert {unit.id for unit in order} == {unit.id for unit in UNITS}
    assert not waiting


def test_a_cell_is_not_submitted_before_its_stage_1_is_done():
    first, *others = ONE_MODEL
    waiting = queue(others)
    assert waiting.take() == []
    waiting.trained.add(first.id)
    assert waiting.take() == others[:1]


def test_nothing_is_submitted_ahead_of_what_waits_for_a_worker_and_comes_first():
    first, other, *more = [unit for unit in ONE_MODEL if isinstance(unit, Cell)]
    order = {first.id: 0, other.id: 1, **dict.fromkeys((unit.id for unit in more), 2)}
    trained = {ONE_MODEL[0].id}
    waiting = Queue([first, other, *more], RaySettings(stack=1), 2, trained, order)
    assert [*waiting.take(), *waiting.take()] == [first, other]
    assert waiting.take(ahead=True, waiting=[other]) == []
    assert waiting.take(ahead=True) == more[:1]
    assert waiting.take(waiting=[other]) == more[1:2]  # a worker is free


@pytest.mark.parametrize(
    ("cells", "slots", "stack", "sizes"),
    [
        (5, 1, "auto", [5]),
        (5, 2, "auto", [3, 2]),
        (3, 8, "auto", [1, 1, 1]),
        (17, 1, "auto", [6, 6, 5]),
        (20, 2, "auto", [5, 5, 5, 5]),
        (5, 2, 4, [4, 1]),
        (5, 2, 1, [1, 1, 1, 1, 1]),
        (5, 2, 40, [5]),
    ],
)
def test_cells_are_stacked_so_that_every_slot_has_some_and_none_too_many(cells, slots, stack, sizes):
    grid = Grid(layers=[1], pairs=STUDY.grid.pairs, weights=[i / 100 for i in range(cells)])
    first, _, _, *rest = expand(STUDY.model_copy(update={"models": ["a"], "grid": grid}), MODELS)
    waiting = queue(rest, slots, stack, [first.id])
    taken = list(iter(waiting.take, []))
    assert [len(one) for one in taken] == sizes
    assert [cell for one in taken for cell in one] == rest
    assert max(sizes) <= (LARGEST_STACK if stack == "auto" else stack)


def test_cells_that_are_put_back_run_alone_and_once():
    waiting = queue(CELLS, slots=1, stack=3, trained=[CELLS[0].stage_one.id])
    crashed = waiting.take()
    for cell in crashed:
        waiting.put_back([cell])
    taken = list(iter(waiting.take, []))
    assert sorted(len(one) for one in taken) == [1, 1, 1, 2]
    assert {cell.id for one in taken if len(one) == 1 for cell in one} == {cell.id for cell in crashed}
    assert {cell.id for one in taken for cell in one} == {cell.id for cell in CELLS}


def test_units_that_are_put_back_together_run_together_and_first():
    waiting = queue(CELLS, slots=1, stack=3, trained=[CELLS[0].stage_one.id])
    lost = waiting.take()
    waiting.put_back(lost)
    taken = list(iter(waiting.take, []))
    assert taken[0] == lost
    assert sorted(cell.id for one in taken for cell in one) == sorted(cell.id for cell in CELLS)


def test_nothing_is_taken_of_a_queue_that_was_cleared():
    waiting = queue(UNITS)
    waiting.clear()
    assert waiting.take() == []
    assert not waiting


def test_the_first_answer_comes_first_then_what_narrows_it_most():
    grid = Grid(
        layers=[0.5, 1.0], pairs=[*STUDY.grid.pairs, {"multiply": "river", "add": "copper"}], weights=[0, 0.2, 0.5]
    )
    further = [
        Part(arms=["shuffled_labels"], layers=[1.0], weights=[0.5]),
        Part(seeds=[1], layers=[1.0], weights=[0.5]),
    ]
    units = expand(STUDY.model_copy(update={"grid": grid, "also": further}), MODELS)
    waiting, taken = Queue(units, RaySettings(stack=1), 2, set(), ranks(units)), []
    while stack := waiting.take():
        taken += [unit.label for unit in stack]
        waiting.trained |= {unit.id for unit in stack if isinstance(unit, StageOne)}
    assert sorted(taken) == sorted(unit.label for unit in units)
    assert taken[:5] == [
        "a|stage1|s0",
        "a|reference|s0",
        "a|multiply-add|w=0|s0",
        "a|L1|multiply-add|w=0.5|s0",
        "a|L3|multiply-add|w=0.5|s0",
    ]
    assert taken[5:10] == [label.replace("a|", "b|", 1) for label in taken[:5]]
    kinds = ["s1" if label.endswith("s1") else "w=0.2" if "w=0.2" in label else "control" for label in taken[10:]]
    assert kinds == sorted(kinds, key=["control", "s1", "w=0.2"].index)


def test_a_task_that_would_wait_does_not_pass_one_that_answers_sooner():
    units = expand(STUDY, MODELS)
    waiting = Queue(units, RaySettings(), 2, set(), ranks(units))
    assert [unit.label for unit in waiting.take()] == ["a|stage1|s0"]
    assert waiting.take(ahead=True) == [], "the cells of the first model are still to come"
    assert [unit.label for unit in waiting.take()] == ["b|stage1|s0"], "but no worker idles"


def grown(seconds, cells=(8, 16, 32, 64, 128, 256)):
    """The largest stack after stacks of these sizes were tried, as far as they were asked for."""
    size = StackSize(grows=True)
    for count in cells:
        if count <= size.largest:
            size.learn(count, seconds(count))
    return size.largest


def test_on_a_gpu_stacks_grow_for_as_long_as_that_makes_a_cell_cheaper():
    # Milliseconds of a step for each of so many cells: a line through those of an H100 (benchmarks/gpus.json), those of
    # one core of a processor (docs/speed.md), and of one that gains nothing.
    assert grown(lambda cells: (45.6 + 0.43 * cells) / cells) == 512
    assert grown({8: 244.1, 16: 234.7, 32: 230.9}.__getitem__, cells=(8, 16, 32)) == 8
    assert grown(lambda cells: 1.0) == 8
    assert grown(lambda cells: 1.0 / cells, cells=(7, 13)) == 26


def test_on_a_cpu_stacks_keep_their_size_whatever_a_step_takes():
    size = StackSize(grows=False)
    size.learn(8, 0.1)
    assert size.largest == LARGEST_STACK


def test_a_stack_that_does_not_pay_is_the_last_of_its_size():
    size = StackSize(grows=True)
    for cells, seconds in ((8, 1.0), (16, 0.5), (32, 0.49), (16, 0.1)):
        size.learn(cells, seconds)
    assert size.largest == 16


def test_cells_that_cost_the_same_grow_together_and_others_do_not():
    grid = Grid(layers=[1, 2], pairs=STUDY.grid.pairs, weights=[i / 100 for i in range(20)], seeds=[0, 1])
    units = expand(STUDY.model_copy(update={"grid": grid}), MODELS)
    cells = [unit for unit in units if isinstance(unit, Cell)]
    waiting = Queue(cells, RaySettings(), 1, {cell.stage_one.id for cell in cells}, grows=True)
    first = waiting.take()
    assert len(first) <= LARGEST_STACK
    waiting.learn(first[0], len(first), 0.01)
    model, taken = first[0].stage_one.model_name, list(iter(waiting.take, []))
    sizes = {name: [len(one) for one in taken if one[0].stage_one.model_name == name] for name in "ab"}
    assert max(sizes.pop(model)) == 2 * len(first)
    assert max(map(max, sizes.values())) <= LARGEST_STACK


def test_what_a_step_took_is_read_from_the_rows_of_a_finished_cell(uninterrupted):
    (cell,) = [folder for folder in (uninterrupted / "cells").iterdir() if "_L" in folder.name]
    cells, seconds = _step_of(cell)
    assert cells == 1
    assert 0 < seconds < 10
