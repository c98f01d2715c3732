"""The control of a probe: passed by states that remember templates, and by no others."""

from collections.abc import Callable

import numpy as np
import pytest

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.wordings import templates
from study.lens.tokens import Encoded
from study.measures import predictors
from study.tasks import FITTING_PROMPTS
from study.tasks.arithmetic import Arithmetic
from study.tasks.prompts import Prompt

NUMBERS = {one.name: i for i, one in enumerate(templates("symbolic"))}
States = Callable[[Prompt], np.ndarray]


def asked(operations: list[str], seed: int) -> list[list[Encoded]]:
    """Training, held-out and remembered prompts, as the unit of the predictors asks for them."""
    task = Arithmetic(Data(operations=operations))
    sets = (
        task.fitting_prompts(operations, FITTING_PROMPTS, seed),
        task.evaluation_prompts(operations, Evaluation(prompts_per_class=24), seed),
        task.fitting_prompts(operations, FITTING_PROMPTS, seed, held_out=True),
    )
    return [[Encoded(item, (1,), (2,)) for item in items] for items in sets]


def figures(operations: list[str], state: States, seed: int = 0) -> dict[str, float]:
    """Those of the symbolic tier, with a little noise on the states."""
    rng = np.random.default_rng(seed)
    sets = asked(operations, seed)
    states = [np.array([[state(item.prompt)] for item in items], np.float64) for items in sets]
    states = [values + 0.01 * rng.standard_normal(values.shape) for values in states]
    return predictors._probes(states, sets, seed)["symbolic", 0]


def of_template(operations: list[str]) -> States:
    """One-hot in template and operation."""

    def state(prompt: Prompt) -> np.ndarray:
        place = NUMBERS.get(prompt.template, 0) * len(operations) + operations.index(prompt.operation)
        return np.eye(len(NUMBERS) * len(operations))[place]

    return state


def of_operation(operations: list[str]) -> States:
    return lambda prompt: np.repeat(np.eye(len(operations))[operations.index(prompt.operation)], 8)


def of_operands(prompt: Prompt) -> np.ndarray:
    return np.eye(21)[prompt.numbers[0]] + np.eye(21)[prompt.numbers[1]]


STUDIES = [["multiply", "add"], ["multiply", "add", "subtract"]]


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
@pytest.mark.parametrize("seed", range(3))
def test_states_that_remember_each_template_pass_the_control_and_have_no_selectivity(
    operations: list[str], seed: int
) -> None:
    found = figures(operations, of_template(operations), seed)
    assert found["probe_seen"] >= 0.95
    assert found["probe_control"] >= 0.95
    assert found["probe_seen"] - found["probe_control"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_states_that_hold_the_operation_alone_fail_the_control_and_are_selective(operations: list[str]) -> None:
    found = [figures(operations, of_operation(operations), seed) for seed in range(8)]
    assert all(one["probe"] == one["probe_seen"] == 1.0 for one in found)
    chance = 1 / len(operations)
    # With a few dozen templates, one label of an operation is drawn somewhat more often than the others.
    assert np.mean([one["probe_control"] for one in found]) == pytest.approx(chance, abs=0.12)
    assert all(one["probe_seen"] - one["probe_control"] > 0.25 for one in found)


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_states_of_the_operands_pass_neither(operations: list[str]) -> None:
    found = figures(operations, of_operands)
    for name in ("probe", "probe_seen", "probe_control"):
        assert found[name] == pytest.approx(1 / len(operations), abs=0.1), name


def test_the_control_is_tested_in_templates_that_it_saw_with_operands_that_it_did_not() -> None:
    training, held_out, remembered = asked(STUDIES[0], 0)
    assert {i.prompt.template for i in training} == {i.prompt.template for i in remembered}
    assert {i.prompt.operands for i in training}.isdisjoint(i.prompt.operands for i in remembered)
    assert {i.prompt.template for i in held_out} - {i.prompt.template for i in training}
