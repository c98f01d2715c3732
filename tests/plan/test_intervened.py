"""At which layers of which cells hidden states are exchanged."""

from typing import Any

from study.config.arms import ARMS
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid, Part
from study.config.stages import Stage2Change
from study.config.study import Study
from study.config.units import Cell
from study.plan.expand import expand

WORDS = {"multiply": "multiply", "add": "add"}
OTHERS = {"multiply": "river", "subtract": "copper"}
MODEL = Model(source=BuiltSource(built="llama"), blocks=8)


def cells(*parts: Part, evaluation: Evaluation = Evaluation(), **axes: Any) -> list[Cell]:  # noqa: B008
    grid = Grid(**{"layers": [1, 5], "pairs": [WORDS], "weights": [0.0, 0.2, 0.5], **axes})
    data = Data(operations=["multiply", "add", "subtract"])
    study = Study(name="x", models=["m"], grid=grid, also=list(parts), data=data, evaluation=evaluation)
    return [unit for unit in expand(study, {"m": MODEL}) if isinstance(unit, Cell)]


def of(found: list[Cell]) -> dict[str, list[int]]:
    return {cell.label.removeprefix("m|").removesuffix("|s0"): cell.intervened for cell in found}


def test_a_plain_cell_has_its_own_layer_and_one_with_w_0_those_of_all() -> None:
    found = of(cells())
    assert found.pop("multiply-add|w=0") == [1, 5]
    assert found == {f"L{n}|multiply-add|w={w}": [n] for n in (1, 5) for w in ("0.2", "0.5")}


def test_layers_of_further_parts_count_where_their_cells_are_plain() -> None:
    found = of(cells(Part(layers=[3]), Part(layers=[7], arms=["random_words"])))
    assert found["multiply-add|w=0"] == [1, 3, 5]
    assert found["L7|multiply-add|w=0.5|random_words"] == []


def test_controls_and_manipulations_have_none() -> None:
    found = cells(arms=list(ARMS))
    assert {cell.arm for cell in found if cell.intervened} == {"plain"}
    assert all(cell.intervened for cell in found if cell.arm == "plain")


def test_cells_with_other_settings_or_recipes_have_none() -> None:
    changed = Part(weights=[0.5], layers=[3], stage2=Stage2Change(steps=7))
    found = cells(changed, recipes=["corrected", "as-published"])
    for cell in found:
        assert bool(cell.intervened) == (not cell.changed and not cell.choices)
    assert all(cell.intervened == [1, 5] for cell in found if cell.layer is None and not cell.choices)


def test_a_cell_with_w_0_has_the_layers_of_its_own_wordings_and_operations() -> None:
    parts = [Part(wordings=[["symbolic", "story"]], layers=[3]), Part(pairs=[OTHERS], layers=[7])]
    found = of(cells(*parts))
    assert found["multiply-add|w=0"] == [1, 5]
    assert found["multiply-add|w=0|symbolic+story"] == [3]
    assert found["multiply-subtract|w=0"] == [7]


def test_a_study_that_asks_for_no_prompts_has_none() -> None:
    assert not any(cell.intervened for cell in cells(evaluation=Evaluation(causal_prompts=0)))
