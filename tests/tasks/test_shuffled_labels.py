"""Labels that are exchanged at random in every template: what can be remembered of them, and what cannot."""

from collections import Counter
from itertools import permutations

import pytest

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import TIERS
from study.config.wordings import templates
from study.tasks.arithmetic import Arithmetic, prompt_of
from study.tasks.prompts import Prompt, shuffled_label

STUDIES = [["multiply", "add"], ["multiply", "add", "subtract"]]
SEEDS = range(200)


def labels(operations: list[str], seed: int) -> dict[tuple[str, str], str]:
    """By template and operation."""
    return {
        (one.name, name): shuffled_label(prompt_of(one, name, 7, 3), operations, seed)
        for tier in TIERS
        for one in templates(tier)
        for name in operations
    }


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_the_labels_of_a_template_are_a_permutation_of_the_operations(operations: list[str]) -> None:
    drawn = labels(operations, 0)
    for tier in TIERS:
        for one in templates(tier):
            assert sorted(drawn[one.name, name] for name in operations) == sorted(operations)


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_over_seeds_every_permutation_is_drawn_equally_often_in_a_template(operations: list[str]) -> None:
    every = list(permutations(operations))
    for template in ("symbolic-0", "story-7"):
        counts: Counter[tuple[str, ...]] = Counter()
        for seed in SEEDS:
            drawn = labels(operations, seed)
            counts[tuple(drawn[template, name] for name in operations)] += 1
        assert set(counts) == set(every)
        expected = len(SEEDS) / len(every)
        assert all(abs(count - expected) < 4 * expected**0.5 for count in counts.values())


def test_within_a_seed_about_half_of_the_templates_exchange_the_labels_of_two_operations() -> None:
    for seed in range(5):
        drawn = labels(["multiply", "add"], seed)
        kept = sum(label == name for (_, name), label in drawn.items()) / len(drawn)
        assert kept == pytest.approx(0.5, abs=0.12)


def test_another_seed_draws_other_labels_and_the_same_seed_the_same() -> None:
    assert labels(["multiply", "add"], 0) == labels(["multiply", "add"], 0)
    agree = [
        sum(one == other for one, other in zip(labels(STUDIES[0], 0).values(), drawn.values(), strict=True))
        / len(drawn)
        for drawn in (labels(STUDIES[0], seed) for seed in range(1, 6))
    ]
    assert all(0.3 < share < 0.7 for share in agree)


def test_a_label_is_that_of_template_and_operation_whatever_the_operands() -> None:
    for template in templates("semantic")[:8]:
        for name in ("multiply", "add"):
            asked = [prompt_of(template, name, a, b) for a in range(2, 10) for b in range(2, 10)]
            assert len({shuffled_label(item, ["multiply", "add"], 3) for item in asked}) == 1


class Oracle:
    """Remembers the label of each template and operation; of those that it has not seen, it tells the operation, or
    the label that is commonest for it."""

    def __init__(self, trained: list[Prompt], operations: list[str], seed: int) -> None:
        self.operations, self.seed = operations, seed
        self.known = {(item.template, item.operation): shuffled_label(item, operations, seed) for item in trained}
        self.commonest = {
            name: Counter(label for (_, one), label in self.known.items() if one == name).most_common(1)[0][0]
            for name in operations
        }

    def accuracy(self, prompts: list[Prompt]) -> float:
        told = [
            self.known.get((item.template, item.operation), self.commonest[item.operation])
            == shuffled_label(item, self.operations, self.seed)
            for item in prompts
        ]
        return sum(told) / len(told)


@pytest.mark.parametrize("operations", STUDIES, ids="-".join)
def test_who_remembers_templates_is_right_on_held_out_operands_there_and_at_chance_on_other_templates(
    operations: list[str],
) -> None:
    task = Arithmetic(Data(operations=operations))
    held_out = {one.name: one.held_out for tier in TIERS for one in templates(tier)}
    unseen: list[float] = []
    for seed in range(12):
        trained = [item for step in range(150) for item in task.training_prompts(operations, TIERS, seed, step, 16)]
        oracle = Oracle(trained, operations, seed)
        evaluated = task.evaluation_prompts(operations, Evaluation(prompts_per_class=54), seed)
        assert {item.operands for item in trained}.isdisjoint(item.operands for item in evaluated)
        there = [item for item in evaluated if (item.template, item.operation) in oracle.known]
        assert len(there) > 110
        assert oracle.accuracy(there) == 1.0
        elsewhere = [item for item in evaluated if held_out[item.template]]
        assert not {(item.template, item.operation) for item in elsewhere} & oracle.known.keys()
        unseen.append(oracle.accuracy(elsewhere))
    assert sum(unseen) / len(unseen) == pytest.approx(1 / len(operations), abs=0.04)


def test_the_named_class_is_the_label_where_there_is_one_and_else_the_operation() -> None:
    plain = prompt_of(templates("symbolic")[0], "add", 7, 3)
    assert plain.named == "add"
    assert Prompt("t", "t", "add", "", "", "", label="multiply").named == "multiply"
