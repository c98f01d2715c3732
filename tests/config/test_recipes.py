"""Recipes: their names, the cells that they make, and what each choice does to a training."""

from itertools import combinations
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.grid import Grid, Part
from study.config.recipes import CHOICES, TRAINING, RecipeError, choices_of, recipe_of, training_of
from study.config.stages import Lora, Stage2, Stage2Change
from study.config.study import Study
from study.config.units import Cell, Reference
from study.lens.hooks import attached
from study.lens.tokens import encode
from study.models.load import Loaded, load
from study.plan.expand import expand
from study.plan.read import ConfigError, read_study
from study.plan.stacks import stack_key
from study.tasks import task_of
from study.training import adapters
from study.training.loop import Objective, TrainingData, train
from study.training.objectives import ClassLoss, dual_reward, make_batch
from tests.training.test_objectives import LONG, SHORT, TOKENS, log_probabilities

PAIR: Any = {"multiply": "multiply", "add": "add"}
DATA = Data(smallest=2, largest=9)
OPERATIONS: list[Any] = ["multiply", "add"]
LORA = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(Model(source=BuiltSource(built="llama"), blocks=4))


def test_every_set_of_choices_has_one_name_and_the_name_gives_it_back() -> None:
    sets = [list(some) for size in range(len(CHOICES) + 1) for some in combinations(CHOICES, size)]
    names = [recipe_of(some) for some in sets]
    assert len(set(names)) == len(sets)
    assert [choices_of(name) for name in names] == sets
    assert recipe_of([]) == "corrected"
    assert recipe_of(CHOICES) == "as-published"
    everything_but_one = f"corrected with {', '.join(CHOICES[1:])}"
    assert recipe_of(choices_of(everything_but_one)) == f"as-published without {CHOICES[0]}"


@pytest.mark.parametrize(
    "recipe", ["", "published", "corrected without plain_sgd", "as-published with plain_sgd", "corrected with sgd"]
)
def test_a_recipe_that_says_nothing_clear_is_told_with_what_is_allowed(recipe: str) -> None:
    with pytest.raises(RecipeError, match=r"choices: unshifted_answers|is no recipe: it is corrected, as-published"):
        choices_of(recipe)


def _cells(study: Study) -> list[Cell]:
    units = expand(study, {"tiny-llama": Model(source=BuiltSource(built="llama"), blocks=4)})
    return [unit for unit in units if isinstance(unit, Cell)]


def test_recipes_that_differ_in_reading_alone_are_one_cell_and_others_are_not(tiny_study: Any) -> None:
    def study(*recipes: str) -> Study:
        grid = Grid(layers=[1], pairs=[PAIR], weights=[0.5], recipes=list(recipes))
        changed: Study = tiny_study(grid=grid)
        return changed

    same = _cells(study("corrected", "corrected with maximum_score", "corrected with eight_prompts"))
    assert [cell.choices for cell in same] == [[]]
    cells = _cells(study("corrected", "as-published", *(f"corrected with {name}" for name in TRAINING)))
    assert [cell.choices for cell in cells] == [[], list(TRAINING), *([name] for name in TRAINING)]
    assert len({cell.id for cell in cells}) == len({stack_key(cell) for cell in cells}) == 6
    assert all(cell.scored for cell in cells)


def test_a_study_without_recipes_has_the_ids_that_it_had_before_there_were_any(tiny_study: Any) -> None:
    plan = read_study(Path(__file__).parents[2] / "configs" / "smoke.yaml")
    ids = {unit.label: unit.id for unit in expand(plan.study, plan.models)}
    assert ids["tiny-llama|reference|s0"] == "6b838b21"
    assert ids["tiny-llama|L1|multiply-add|w=0.5|s0"] == "687d4b64"
    assert not any(cell.scored or cell.changed for cell in _cells(tiny_study()))


def test_the_reference_of_a_study_with_recipes_is_scored_at_the_trained_layers(tiny_study: Any) -> None:
    grid = Grid(layers=[1, 3], pairs=[PAIR], weights=[0.5], recipes=["corrected", "as-published"])
    units = expand(tiny_study(grid=grid), {"tiny-llama": Model(source=BuiltSource(built="llama"), blocks=4)})
    assert [unit.scored_layers for unit in units if isinstance(unit, Reference)] == [[1, 3]]


def test_a_part_may_change_stage_2_and_its_cells_say_so(tiny_study: Any) -> None:
    part = Part(weights=[0.2], stage2=Stage2Change(steps=3, learning_rate=1e-5))
    grid = Grid(layers=[1], pairs=[PAIR], weights=[0.5])
    plain, changed = _cells(tiny_study(grid=grid, also=[part]))
    assert plain.changed == {}
    assert changed.changed == {"steps": 3, "learning_rate": 1e-5}
    assert (changed.stage2.steps, changed.stage2.learning_rate) == (3, 1e-5)
    assert changed.stage2.lora == plain.stage2.lora
    assert "steps=3|learning_rate=1e-05" in changed.label


def test_a_custom_task_has_the_corrected_recipe_alone(tmp_path: Path) -> None:
    configs = Path(__file__).parents[2] / "configs"
    for name in ("capitals.jsonl", "models.yaml"):
        (tmp_path / name).write_text((configs / name).read_text())
    text = (
        (configs / "capitals.yaml")
        .read_text()
        .replace("  weights: [0, 0.5]\n", "  weights: [0.5]\n  recipes: [as-published]\n")
    )
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(
        ConfigError, match=r"grid\.recipes: a custom task allows only corrected; other recipes are for arithmetic"
    ):
        read_study(tmp_path / "own.yaml")


def test_as_published_scores_each_answer_token_at_its_own_place_and_the_class_at_the_end(loaded: Loaded) -> None:
    """Against log-probabilities of one sequence at a time, in numpy."""
    targets = [ClassLoss(1, 0.3, TOKENS)]
    batch = make_batch([SHORT, LONG], cells=targets, choices=TRAINING)
    with attached(loaded.model) as lens:
        _, losses = dual_reward(lens, batch, targets)
        expected_class = []
        for item in (SHORT, LONG):
            whole = mx.array([[*item.prompt_ids, *item.answer_ids[:-1]]])
            logits = np.array(lens.read_out(lens.hidden(whole)[1][:, -1]))[0].astype(np.float64)
            expected_class.append(np.log(np.exp(logits).sum()) - logits[TOKENS[item.prompt.operation]])
    expected = []
    for item in (SHORT, LONG):
        whole_ids = [*item.prompt_ids, *item.answer_ids[:-1]]  # the stop is neither seen nor trained
        log_p = log_probabilities(loaded.model, whole_ids)
        expected += [-log_p[t, whole_ids[t]] for t in range(len(item.prompt_ids), len(whole_ids))]
    np.testing.assert_allclose(losses["answer_loss"].item(), np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(losses["class_loss"].item(), np.mean(expected_class), rtol=1e-5)
    np.testing.assert_allclose(
        losses["loss"].item(), 0.3 * np.mean(expected_class) + 0.7 * np.mean(expected), rtol=1e-5
    )


def test_plain_gradient_descent_moves_by_the_rate_times_the_gradient_and_clips_nothing(loaded: Loaded) -> None:
    """Against the gradient of the same loss, taken outside of the training loop; a clipped one would be far shorter."""
    rate, settings = 0.5, Stage2(steps=1, batch_size=4, clip_norm=1e-3, warmup_steps=20, lora=LORA)
    objective = Objective(rate, ClassLoss(1, 0.5, TOKENS))
    (trained,) = train(
        loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0, choices=["plain_sgd"]), [objective]
    )
    prompts = task_of(DATA).training_prompts(OPERATIONS, ["symbolic"], 0, 1, 4)
    targets = [objective.target]
    batch = make_batch([encode(loaded.tokenizer, item) for item in prompts], cells=targets)
    adapters.stack(loaded.model, LORA, [0])
    start = {name: value[0] for name, value in tree_flatten(loaded.model.trainable_parameters())}
    with attached(loaded.model) as lens:
        _, gradients = nn.value_and_grad(loaded.model, lambda: dual_reward(lens, batch, targets)[0])()
    for name, gradient in tree_flatten(gradients):
        moved = start[name] - rate * gradient[0]
        np.testing.assert_allclose(np.array(trained.weights[name]), np.array(moved), atol=1e-6)
    adapters.take_off(loaded.model)


def test_a_training_without_special_tokens_sees_other_ids_than_evaluation_and_as_many_less(loaded: Loaded) -> None:
    settings = Stage2(steps=1, batch_size=4, lora=LORA)
    objective = Objective(1e-3, ClassLoss(1, 0.5, TOKENS))

    def tokens(choices: list[Any]) -> int:
        (cell,) = train(
            loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0, choices=choices), [objective]
        )
        return int(cell.curve[0]["tokens"])

    assert tokens([]) - tokens(["bos_in_evaluation_only"]) == 4  # a BOS a prompt


def test_choices_of_training_are_those_that_change_a_cell() -> None:
    assert training_of(CHOICES) == list(TRAINING)
    assert training_of(["eight_prompts"]) == []
