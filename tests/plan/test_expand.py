"""The parts of a grid as units: arms, wordings and seeds."""

from collections import Counter
from itertools import permutations, product
from typing import Any

import pytest

from study.config.arms import ARMS as KNOWN
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Decisions, Evaluation
from study.config.grid import Grid, Part
from study.config.names import EveryLayer, Layers
from study.config.study import RaySettings, Study
from study.config.units import Cell, Predictors, Reference, Unit, kind
from study.plan.expand import SameModelError, expand, trained_layers
from study.plan.selection import SelectionError, choose

SMALL = Model(source=BuiltSource(built="llama"), blocks=4)
WORDS: Any = {"multiply": "multiply", "add": "add"}
OTHERS: Any = {"multiply": "river", "add": "copper"}
ARMS = tuple(KNOWN)
BOTH: Any = ["symbolic", "semantic"]


def study(*also: Part, **axes: Any) -> Study:
    grid = {"layers": [0.5], "pairs": [WORDS], "weights": [0.0, 0.5], **axes}
    return Study(name="example", models=["small"], grid=Grid(**grid), also=list(also))


def units(*also: Part, **axes: Any) -> list[Unit]:
    return expand(study(*also, **axes), {"small": SMALL})


def cells(*also: Part, **axes: Any) -> list[Cell]:
    return [unit for unit in units(*also, **axes) if isinstance(unit, Cell)]


def labels(found: list[Cell]) -> list[str]:
    return [cell.label.removeprefix("small|") for cell in found]


def ids(found: list[Any]) -> set[tuple[str, str]]:
    return {(unit.label, unit.id) for unit in found}


def test_a_part_adds_its_product_with_the_axes_that_it_leaves_to_the_grid() -> None:
    found = labels(cells(Part(arms=["shuffled_labels", "lora_below"]), Part(layers=[3], weights=[0.2])))
    assert found == [
        "multiply-add|w=0|s0",
        "L1|multiply-add|w=0.5|s0",
        "L1|multiply-add|w=0.5|shuffled_labels|s0",
        "L1|multiply-add|w=0.5|lora_below|s0",
        "L3|multiply-add|w=0.2|s0",
    ]


def test_one_model_under_two_names_is_refused_and_kept_in_another_way_it_is_another() -> None:
    twice = study().model_copy(update={"models": ["small", "again"]})
    with pytest.raises(SameModelError, match="models: again is the same model as small, so its rows would be too"):
        expand(twice, {"small": SMALL, "again": SMALL.model_copy(update={"licence": "MIT"})})
    held = expand(twice, {"small": SMALL, "again": SMALL.model_copy(update={"weights": "8bit"})})
    assert len({unit.id for unit in held}) == 2 * len(units())


def test_w_zero_reads_the_names_of_the_grid_before_unrelated_words() -> None:
    (zero,) = [cell for cell in cells(arms=["random_words", "plain"]) if cell.layer is None]
    assert [one.random for one in zero.readouts] == [False, True]
    (as_listed,) = [cell for cell in cells(arms=["plain", "random_words"]) if cell.layer is None]
    assert (zero.readouts, zero.id) == (as_listed.readouts, as_listed.id)


def test_an_empty_part_and_one_that_says_the_same_again_add_nothing() -> None:
    assert ids(units(Part(), Part(layers=[1], weights=[0.5]))) == ids(units())


def test_a_study_that_tests_no_predictors_measures_none_and_its_other_units_are_the_same() -> None:
    without = study().model_copy(update={"decisions": Decisions(predictors=[])})
    found = expand(without, {"small": SMALL})
    assert ids(found) == {(unit.label, unit.id) for unit in units() if kind(unit) != "predictors"}
    assert len(found) == len(units()) - 1


def test_predictors_may_be_measured_on_more_prompts_than_the_profile_and_no_other_unit_changes() -> None:
    more = study().model_copy(update={"decisions": Decisions(predictor_prompts=40)})
    found = expand(more, {"small": SMALL})
    changed = ids(found) ^ ids(units())
    assert {label for label, _ in changed} == {"small|predictors|s0"}
    assert [one.evaluation.profile_prompts for one in found if isinstance(one, Predictors)] == [40]
    same = study().model_copy(update={"decisions": Decisions(predictor_prompts=Evaluation().profile_prompts)})
    assert ids(expand(same, {"small": SMALL})) == ids(units())


def test_every_axis_is_multiplied_with_every_other() -> None:
    axes: dict[str, Any] = {"layers": [0, 2], "weights": [0.2, 0.5], "pairs": [WORDS, OTHERS], "seeds": [0, 1]}
    found = cells(**axes, arms=list(ARMS), wordings=[["symbolic"], BOTH])
    assert len(found) == len({cell.id for cell in found}) == len({cell.label for cell in found}) == 2**5 * len(ARMS)


def test_a_seed_of_one_part_alone_has_the_cells_of_that_part_alone_and_a_stage_1_of_its_own() -> None:
    found = units(Part(seeds=[3], layers=[2], weights=[0.5]), layers=[0, 1], seeds=[0, 1])
    assert Counter((kind(unit), unit.label[-2:]) for unit in found) == {
        **{(which, seed): 1 for which, seed in product(["stage1", "reference", "predictors"], ["s0", "s1", "s3"])},
        ("cell", "s0"): 3,
        ("cell", "s1"): 3,
        ("cell", "s3"): 1,
    }
    assert found[-1].label == "small|L2|multiply-add|w=0.5|s3"


def test_without_a_class_there_is_one_cell_for_each_wordings_and_seed_whatever_the_arms() -> None:
    found = cells(
        Part(pairs=[OTHERS], seeds=[0, 1]), layers=[0, 1], seeds=[0, 1], arms=list(ARMS), wordings=[["symbolic"], BOTH]
    )
    without = [cell for cell in found if cell.weight == 0]
    assert {(cell.stage_one.seed, *cell.wordings) for cell in without} == {
        (seed, *wordings) for seed in (0, 1) for wordings in (["symbolic"], BOTH)
    }
    assert len(without) == 4
    assert {cell.arm for cell in without} == {"plain"}
    for cell in without:
        assert {readout.name for readout in cell.readouts} == {
            name + of for of in ("multiply/add", "river/copper") for name in ("", "random:")
        } | {"add/multiply", "copper/river"}


def test_there_is_one_reference_and_one_predictors_for_a_stage_1_and_they_read_what_its_cells_train() -> None:
    found = units(Part(pairs=[OTHERS], arms=["swapped_tokens", "random_words"], seeds=[0]), seeds=[0, 1])
    references = {unit.stage_one.seed: unit for unit in found if isinstance(unit, Reference)}
    predictors = {unit.stage_one.seed: unit for unit in found if isinstance(unit, Predictors)}
    assert references.keys() == predictors.keys() == {0, 1}
    names = [{readout.name for readout in of[0].readouts} for of in (references, predictors)]
    assert names == [{"multiply/add", "copper/river", "random:river/copper"}, {"multiply/add", "random:river/copper"}]
    assert [readout.name for readout in references[1].readouts] == ["multiply/add"]
    assert all(
        {one.name for one in cell.readouts} <= names[0]
        for cell in found
        if isinstance(cell, Cell) and cell.stage_one.seed == 0
    )


def test_pairs_of_other_operations_with_the_same_tokens_are_all_read() -> None:
    data = Data(operations=["multiply", "add", "subtract"])
    pairs: Any = [{"multiply": "river", "add": "copper"}, {"multiply": "river", "subtract": "copper"}]
    changed = study(pairs=pairs).model_copy(update={"data": data})
    found = expand(changed, {"small": SMALL})
    assert [readout.pair for readout in found[1].readouts] == pairs  # type: ignore[union-attr]
    assert len([unit for unit in found if isinstance(unit, Cell) and unit.weight == 0]) == 2


def test_the_order_in_which_anything_is_written_changes_no_id() -> None:
    parts = [Part(arms=["shuffled_labels"]), Part(pairs=[OTHERS], seeds=[0, 1]), Part(wordings=[BOTH])]
    orders = [ids(units(*order, pairs=[WORDS])) for order in permutations(parts)]
    assert all(order == orders[0] for order in orders)
    axes: dict[str, list[Any]] = {"layers": [0, 2], "pairs": [WORDS, OTHERS], "weights": [0.0, 0.2], "seeds": [0, 1]}
    axes |= {"arms": list(ARMS), "wordings": [["symbolic"], BOTH]}
    backwards = {name: values[::-1] for name, values in axes.items()}
    assert ids(units(**axes)) == ids(units(**backwards))


def test_cells_of_weights_that_are_nearly_equal_have_labels_of_their_own() -> None:
    grid = Grid(layers=[1], pairs=[{"multiply": "a", "add": "b"}], weights=[0.5, 0.5000001])
    study = Study(name="near", models=["a"], grid=grid)
    labels = [unit.label for unit in expand(study, {"a": Model(source=BuiltSource(built="llama"), blocks=4)})]
    assert [label for label in labels if "|w=" in label] == ["a|L1|a-b|w=0.5|s0", "a|L1|a-b|w=0.5000001|s0"]


def test_the_order_within_a_pair_and_within_wordings_changes_neither_id_nor_label() -> None:
    turned: Any = {"add": "add", "multiply": "multiply"}
    arms: Any = list(ARMS)
    assert ids(units(pairs=[WORDS], arms=arms)) == ids(units(pairs=[turned], arms=arms))
    assert ids(units(pairs=[WORDS], arms=arms)) == ids(units(Part(pairs=[turned]), pairs=[WORDS], arms=arms))
    (one,), (other,) = (cells(wordings=[order], weights=[0.5]) for order in (BOTH, BOTH[::-1]))
    assert (one.id, one.label, one.wordings) == (other.id, other.label, other.wordings)
    assert one.label == "small|L1|multiply-add|w=0.5|symbolic+semantic|s0"


def test_arm_wordings_and_seed_are_part_of_an_id_and_how_the_study_is_executed_is_not() -> None:
    found = cells(arms=list(ARMS), wordings=[["symbolic"], BOTH], seeds=[0, 1], weights=[0.5])
    assert len({cell.id for cell in found}) == len(ARMS) * 2 * 2
    again = study(arms=list(ARMS), wordings=[["symbolic"], BOTH], seeds=[0, 1], weights=[0.5]).model_copy(
        update={"ray": RaySettings(workers=3, stack=2), "evaluation": Evaluation(batch_size=5)}
    )
    executed = [unit for unit in expand(again, {"small": SMALL}) if isinstance(unit, Cell)]
    assert ids(executed) == ids(found)
    everything = expand(again, {"small": SMALL})
    assert ids(everything) == ids(units(arms=list(ARMS), wordings=[["symbolic"], BOTH], seeds=[0, 1], weights=[0.5]))


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (
            ["arm=shuffled_labels"],
            ["L1|multiply-add|w=0.5|shuffled_labels|s0", "L1|multiply-add|w=0.5|shuffled_labels|s1"],
        ),
        (["arm=lora_below", "seed=1"], ["L1|multiply-add|w=0.5|lora_below|s1"]),
        (["arm=plain", "weight=0", "seed=0", "seed=1"], ["multiply-add|w=0|s0", "multiply-add|w=0|s1"]),
        (["arm=random_words", "pair=multiply/add", "seed=0"], ["L1|multiply-add|w=0.5|random_words|s0"]),
        (["arm=swapped_tokens", "pair=multiply/add", "seed=0"], ["L1|multiply-add|w=0.5|swapped_tokens|s0"]),
    ],
)
def test_only_picks_arms_and_seeds(only: list[str], chosen: list[str]) -> None:
    found = choose(units(arms=list(ARMS), seeds=[0, 1]), only)
    assert labels([unit for unit in found if isinstance(unit, Cell)]) == chosen
    seeds = {label[-1] for label in chosen}
    assert Counter(kind(unit) for unit in found if not isinstance(unit, Cell)) == {
        "stage1": len(seeds),
        "reference": len(seeds),
        "predictors": len(seeds),
    }


@pytest.mark.parametrize(
    ("of_labels", "keys"),
    [
        (["L1"], ["layer=1"]),
        (["s1", "shuffled_labels"], ["seed=1", "arm=shuffled_labels"]),
        (["w=0.5", "plain"], ["weight=0.5", "arm=plain"]),
        (["w=0"], ["weight=0"]),
        (["multiply-add"], ["pair=multiply/add"]),
        (["pair=multiply-add"], ["pair=multiply/add"]),
        (["multiply/add", "s0"], ["pair=multiply/add", "seed=0"]),
        (["corrected"], ["recipe=corrected"]),
    ],
)
def test_what_a_label_shows_can_be_said_to_only(of_labels: list[str], keys: list[str]) -> None:
    every = units(arms=list(ARMS), seeds=[0, 1])
    assert labels(choose(every, of_labels)) == labels(choose(every, keys))
    for cell in [unit for unit in every if isinstance(unit, Cell)]:
        chosen = choose(every, [cell.label])
        assert [unit for unit in chosen if isinstance(unit, Cell)] == [cell]
        if cell.layer is not None and cell.arm == "plain":
            assert cell in choose(every, cell.label.split("|"))


@pytest.mark.parametrize(
    ("layers", "blocks", "found"),
    [
        ("all", 4, [0, 1, 2, 3]),
        ("all", 1, [0]),
        (EveryLayer(every=2), 4, [1, 3]),
        (EveryLayer(every=2), 5, [0, 2, 4]),
        (EveryLayer(every=3), 30, [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]),
        (EveryLayer(every=9), 4, [3]),
        ([0.5, 1, 1.0], 4, [1, 3]),
    ],
)
def test_layers_may_be_all_or_every_so_manieth(layers: Layers, blocks: int, found: list[int]) -> None:
    assert trained_layers(layers, blocks) == found


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("arm=lora_bellow", "no cell matches; did you mean 'lora_below'\\?; there are"),
        ("lora_bellow", "or what labels show, such as L16, w=0.5 or s1; did you mean 'lora_below'\\?"),
        ("sed=1", "must be one of model=.*; did you mean 'seed'\\?"),
        ("arm=shuffled", "arm lora_below, plain; seed 0, 1"),
        ("seed=7", "arm lora_below, plain; seed 0, 1"),
        ("seed=one", "--only seed=one: must be a whole number from 0 to 4294967295"),
        *((f"seed={text}", "must be a whole number from 0") for text in ("1.5", "-1", str(2**32), "9" * 5000, "nan")),
        *(
            (f"layer={text}", "must be the index of a block")
            for text in ("nan", "inf", "1e999", "-1", "1.5", "1000", "x")
        ),
        *((f"weight={text}", "must be a number from 0 to 1") for text in ("nan", "-inf", "1e999", "2", "0x1")),
        ("id=\udcff\n", r"--only '?id=.*: no cell matches; there are"),
        ("id=" + "x" * 999, r"--only id=x{77}…: no cell matches"),
        ("\0", r"--only '.x00': must be one of model="),
    ],
)
def test_an_arm_or_seed_that_no_cell_has_is_refused_with_those_there_are(only: str, told: str) -> None:
    with pytest.raises(SelectionError, match=told):
        choose(units(arms=["plain", "lora_below"], seeds=[0, 1]), [only])
