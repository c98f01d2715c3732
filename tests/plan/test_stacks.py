from itertools import combinations, product

import pytest

from study.config.arms import ARMS, arms_that_are, is_control
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.stages import Lora, Stage2
from study.config.study import RaySettings, Study
from study.config.units import Cell, describe
from study.plan.expand import expand
from study.plan.stacks import LARGEST_STACK, divide, largest_stack, stack_key, stack_label

MODELS = {name: Model(source=BuiltSource(built="llama", seed=seed), blocks=4) for seed, name in enumerate("ab")}
GRID = Grid(
    layers=[1, 2],
    pairs=[{"multiply": "multiply", "add": "add"}, {"multiply": "river", "add": "copper"}],
    weights=[0.0, 0.2, 0.5, 1.0],
)
STUDY = Study(name="example", models=["a"], grid=GRID, stage2=Stage2(learning_rate=1e-3))

SAME_ROWS = [name for name, arm in ARMS.items() if arm.class_rows == "own"]


def units(**changes):
    return expand(STUDY.model_copy(update=changes), MODELS)


def cells(**changes):
    return [unit for unit in units(**changes) if isinstance(unit, Cell)]


def one(**changes):
    """One cell: layer 1, the first pair, w = 0.5."""
    return next(cell for cell in cells(**changes) if cell.layer == 1 and cell.weight == 0.5)


def test_cells_stack_across_layer_pair_and_weight():
    below_one = [cell for cell in cells() if cell.weight < 1]
    assert len(below_one) == 1 + 2 * 2 * 2
    assert len({stack_key(cell) for cell in below_one}) == 1


def test_cells_stack_across_learning_rates():
    assert stack_key(one()) == stack_key(one(stage2=Stage2(learning_rate=5e-4)))


def test_cells_that_train_the_class_alone_stack_with_those_of_their_layer_alone():
    alone = [cell for cell in cells() if cell.weight == 1]
    keys = {layer: {stack_key(cell) for cell in alone if cell.layer == layer} for layer in (1, 2)}
    assert [len(of_layer) for of_layer in keys.values()] == [1, 1]
    assert not keys[1] & keys[2]
    assert stack_key(one()) not in keys[1] | keys[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": GRID.model_copy(update={"seeds": [1]})},
        {"grid": GRID.model_copy(update={"wordings": [["symbolic", "semantic"]]})},
        {"models": ["b"]},
        {"data": Data(largest=19)},
        {"stage2": Stage2(steps=7)},
        {"stage2": Stage2(batch_size=8)},
        {"stage2": Stage2(clip_norm=2.0)},
        {"stage2": Stage2(weight_decay=0.1)},
        {"stage2": Stage2(warmup_steps=3)},
        {"grid": GRID.model_copy(update={"prompts": ["chat"]})},
        {"stage2": Stage2(lora=Lora(rank=2, alpha=2.0, projections=["v_proj"]))},
        {"evaluation": Evaluation(prompts_per_class=7)},
        {"stage1": STUDY.stage1.model_copy(update={"steps": 7})},
    ],
)
def test_cells_that_differ_otherwise_stay_apart(changes):
    assert stack_key(one(**changes)) != stack_key(one())


def test_cells_of_other_operations_stay_apart():
    data = Data(operations=["multiply", "add", "subtract"])
    pairs = [{"multiply": "river", "add": "copper"}, {"multiply": "river", "subtract": "copper"}]
    two = [cell for cell in cells(data=data, grid=Grid(layers=[1], pairs=pairs, weights=[0.5]))]
    assert len({stack_key(cell) for cell in two}) == 2


def test_cells_stack_across_arms_that_train_for_as_many_steps():
    """Controls go on until they have fitted: they stack with one another, the experiment with manipulations."""
    mixed = [cell for cell in cells(grid=GRID.model_copy(update={"arms": SAME_ROWS})) if cell.weight < 1]
    assert len(mixed) == 1 + len(SAME_ROWS) * 2 * 2 * 2
    keys = {arm: {stack_key(cell) for cell in mixed if cell.arm == arm} for arm in SAME_ROWS}
    of_controls = {key for arm in arms_that_are("control") for key in keys[arm]}
    others = {key for arm in SAME_ROWS if not is_control(arm) for key in keys[arm]}
    assert (len(of_controls), len(others)) == (1, 1)
    assert of_controls.isdisjoint(others)


def test_controls_that_may_train_no_longer_than_others_stack_with_them():
    grid = GRID.model_copy(update={"arms": SAME_ROWS})
    mixed = [cell for cell in cells(grid=grid, stage2=Stage2(control_times=1)) if cell.weight < 1]
    assert len({stack_key(cell) for cell in mixed}) == 1


def test_stage_1_and_what_is_read_of_it_stack_with_nothing():
    first, reference, predictors, *rest = units()
    assert all(stack_key(x) != stack_key(y) for x, y in combinations([first, reference, predictors, rest[0]], 2))
    assert stack_key(first) == first.id


def test_a_stack_is_named_by_what_its_cells_range_over():
    first, reference, predictors, without, *others = units()
    assert stack_label([predictors]) == "a|predictors|s0"
    assert stack_label([first]) == "a|stage1|s0"
    assert stack_label([reference]) == "a|reference|s0"
    assert stack_label([without]) == "a|multiply-add|w=0|s0"
    assert stack_label([others[0]]) == others[0].label == "a|L1|multiply-add|w=0.2|s0"
    assert stack_label(others[:2]) == "a|2 cells|L1|multiply-add|w=0.2,0.5|s0"
    below_one = [without, *(cell for cell in others if cell.weight < 1)]
    assert stack_label(below_one) == "a|9 cells|L1-L2|multiply-add,river-copper|w=0,0.2,0.5|s0"
    shuffled = [cell for cell in cells(grid=GRID.model_copy(update={"arms": ["shuffled_labels"]})) if cell.layer == 2]
    assert stack_label(shuffled[:2]) == "a|2 cells|L2|multiply-add|w=0.2,0.5|shuffled_labels|s0"
    worded = cells(grid=GRID.model_copy(update={"wordings": [["symbolic", "story"]]}))
    assert stack_label(worded[1:3]) == "a|2 cells|L1|multiply-add|w=0.2,0.5|symbolic+story|s0"


def test_the_largest_stack_is_bounded_by_the_setting_and_by_the_cells_that_there_are():
    together = max(sum(stack_key(other) == stack_key(cell) for other in cells()) for cell in cells())
    assert together == 9
    sizes = {setting: largest_stack(units(), setting) for setting in ("auto", 3, 16)}
    assert sizes == {"auto": LARGEST_STACK, 3: 3, 16: together}
    assert largest_stack([one()], "auto") == largest_stack([], "auto") == 1


def test_dividing_keeps_the_order_and_evens_the_lengths():
    for length, parts in product(range(1, 20), range(1, 20)):
        divided = divide(list(range(length)), parts)
        assert [item for part in divided for item in part] == list(range(length))
        assert len(divided) == min(length, parts)
        lengths = [len(part) for part in divided]
        assert max(lengths) - min(lengths) <= 1


def test_the_size_of_a_stack_is_part_of_no_id():
    described = [[describe(unit) for unit in units(ray=RaySettings(stack=size))] for size in ("auto", 1, 5)]
    assert described[0] == described[1] == described[2]
