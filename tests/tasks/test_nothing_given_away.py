"""What a prompt's operands tell of its operation: nothing, to classifiers that see nothing else."""

from collections import Counter

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import TIERS
from study.tasks.arithmetic import Arithmetic
from study.tasks.prompts import Prompt

STUDIES = [["multiply", "add"], ["add", "subtract"], ["multiply", "add", "subtract"]]


def drawn(operations: list[str], largest: int = 20) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts of 500 batches, and those of an evaluation."""
    data = Data(operations=operations, largest=largest)
    task = Arithmetic(data)
    trained = [item for step in range(500) for item in task.training_prompts(operations, TIERS, 0, step, 12)]
    return trained, task.evaluation_prompts(operations, Evaluation(prompts_per_class=108), 0)


def features(prompts: list[Prompt]) -> np.ndarray:
    a, b = np.array([item.numbers for item in prompts]).T
    return np.stack([a, b, a - b, a >= b, a + b, a * b], axis=1)


def balanced(told: list[str], prompts: list[Prompt]) -> float:
    names = {item.operation for item in prompts}
    right = {
        name: [t == name for t, item in zip(told, prompts, strict=True) if item.operation == name] for name in names
    }
    return float(np.mean([np.mean(each) for each in right.values()]))


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_no_classifier_of_the_operands_does_better_than_chance_on_evaluated_prompts(operations: list[str]) -> None:
    trained, evaluated = drawn(operations)
    named = [item.operation for item in trained]
    for classifier in (
        make_pipeline(StandardScaler(), LogisticRegression()),
        DecisionTreeClassifier(max_depth=3, random_state=0),
        DecisionTreeClassifier(random_state=0),
    ):
        told = classifier.fit(features(trained), named).predict(features(evaluated)).tolist()
        # All operations are asked with the same operands, so that any function of them is at chance to the digit.
        assert balanced(told, evaluated) == pytest.approx(1 / len(operations), abs=1e-9)


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_the_operands_of_training_batches_tell_nothing_of_others(operations: list[str]) -> None:
    """Of the operands of the first half of the batches, against the second half: what chance leaves in a table that
    remembers each pair must not carry over."""
    trained, _ = drawn(operations, largest=9)
    half = len(trained) // 2
    table: dict[tuple[int, ...], Counter[str]] = {}
    for item in trained[:half]:
        table.setdefault(item.numbers, Counter())[item.operation] += 1
    known = [item for item in trained[half:] if item.numbers in table]
    told = [table[item.numbers].most_common(1)[0][0] for item in known]
    assert len(known) > 0.9 * half
    assert balanced(told, known) == pytest.approx(1 / len(operations), abs=0.035)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    tree.fit(features(trained[:half]), [item.operation for item in trained[:half]])
    rest = trained[half:]
    assert balanced(tree.predict(features(rest)).tolist(), rest) == pytest.approx(1 / len(operations), abs=0.035)


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_templates_tell_nothing_of_the_operation_either(operations: list[str]) -> None:
    trained, evaluated = drawn(operations)
    by_operation = {name: Counter(item.template for item in evaluated if item.operation == name) for name in operations}
    assert all(counts == by_operation[operations[0]] for counts in by_operation.values())
    seen = {name: {item.template for item in trained if item.operation == name} for name in operations}
    assert all(one == seen[operations[0]] for one in seen.values())


def test_a_classifier_of_the_operands_would_show_operands_that_differ() -> None:
    """The check itself can fail: subtraction alone with the larger operand first is told at once."""
    trained, evaluated = drawn(["multiply", "add"])

    def given_away(item: Prompt) -> Prompt:
        a, b = item.numbers
        ordered = (max(a, b), min(a, b)) if item.operation == "add" else (min(a, b), max(a, b))
        return Prompt(item.tier, item.template, item.operation, item.operands, item.text, item.answer, ordered)

    trained, evaluated = ([given_away(item) for item in items] for items in (trained, evaluated))
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    tree.fit(features(trained), [item.operation for item in trained])
    assert balanced(tree.predict(features(evaluated)).tolist(), evaluated) > 0.9
