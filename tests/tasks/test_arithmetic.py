import re
from collections import Counter

import pytest

from study.config.names import OPERATIONS, TIERS
from study.config.study import Data, Evaluation
from study.config.wordings import number_word, templates, vocabulary, words_of_templates
from study.tasks.arithmetic import Arithmetic, is_held_out, operand_pairs, prompt

DATA = Data()
TASK = Arithmetic(DATA)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_unordered_pair_is_on_both_sides_of_the_split(operation):
    trained, held_out = (operand_pairs(DATA, operation, side) for side in (False, True))
    assert {frozenset(pair) for pair in trained}.isdisjoint(frozenset(pair) for pair in held_out)


def test_the_split_is_the_same_for_every_operation():
    for pair in operand_pairs(DATA, "add", True):
        assert pair in operand_pairs(DATA, "multiply", True)
        assert tuple(sorted(pair, reverse=True)) in operand_pairs(DATA, "subtract", True)


def test_a_larger_range_leaves_the_split_of_the_smaller_one_as_it_was():
    small = set(operand_pairs(DATA, "add", True))
    large = set(operand_pairs(Data(largest=60), "add", True))
    assert small == {pair for pair in large if max(pair) <= DATA.largest}


def test_the_held_out_share_is_about_what_was_asked_for():
    pairs = [(a, b) for a in range(100) for b in range(a + 1)]
    for share in (0.1, 0.3, 0.6):
        assert sum(is_held_out(a, b, share) for a, b in pairs) / len(pairs) == pytest.approx(share, abs=0.03)


def test_differences_are_never_negative():
    assert all(a >= b for side in (True, False) for a, b in operand_pairs(DATA, "subtract", side))


def test_answers_are_right_and_in_digits():
    for operation, result in (("multiply", "56"), ("add", "15"), ("subtract", "1")):
        for tier in TIERS:
            assert prompt(tier, operation, 0, 8, 7).answer == result


def test_operands_are_named_without_regard_to_order():
    assert prompt("symbolic", "add", 0, 8, 7).operands == prompt("symbolic", "add", 0, 7, 8).operands == "7,8"


def test_number_words():
    words = {0: "zero", 7: "seven", 13: "thirteen", 20: "twenty", 42: "forty-two", 99: "ninety-nine"}
    assert {number: number_word(number) for number in words} == words
    assert len({number_word(number) for number in range(100)}) == 100


def test_a_batch_is_a_function_of_seed_and_step():
    def batch(seed, step):
        return TASK.training_prompts(["multiply", "add"], ["symbolic", "story"], seed, step, 16)

    assert batch(3, 7) == batch(3, 7)
    assert batch(3, 7) != batch(3, 8)
    assert batch(3, 7) != batch(4, 7)


def test_batches_hold_every_operation_equally_and_trained_operands_only():
    counts = Counter()
    for step in range(30):
        prompts = TASK.training_prompts(["multiply", "add"], ["symbolic"], 0, step, 5)
        counts.update(item.operation for item in prompts)
        assert all(item.tier == "symbolic" and not is_held_out(*item.numbers, DATA.held_out) for item in prompts)
    assert abs(counts["multiply"] - counts["add"]) <= 30
    assert min(counts.values()) > 50


def test_evaluation_prompts_are_distinct_held_out_and_as_many_as_asked_for_in_each_class():
    prompts = TASK.evaluation_prompts(OPERATIONS, Evaluation(prompts_per_class=24), seed=0)
    assert len({item.text for item in prompts}) == len(prompts)
    assert set(Counter((item.tier, item.operation) for item in prompts).values()) == {24}
    assert all(is_held_out(*item.numbers, DATA.held_out) for item in prompts)


def test_evaluation_prompts_are_spread_evenly_over_templates():
    counts = Counter(
        item.template for item in TASK.evaluation_prompts(["multiply", "add"], Evaluation(prompts_per_class=24), seed=0)
    )
    for tier in TIERS:
        assert len({count for template, count in counts.items() if template.startswith(tier)}) == 1


def test_multiplication_and_addition_are_asked_with_the_same_operands():
    prompts = TASK.evaluation_prompts(["multiply", "add"], Evaluation(prompts_per_class=24), seed=0)
    asked = {
        operation: [
            (item.template.replace(operation, ""), item.numbers) for item in prompts if item.operation == operation
        ]
        for operation in ("multiply", "add")
    }
    assert asked["multiply"] == asked["add"]


def test_asking_for_more_evaluation_prompts_keeps_those_that_were_there():
    few, many = (
        set(TASK.evaluation_prompts(["multiply", "add"], Evaluation(prompts_per_class=n), seed=0)) for n in (16, 48)
    )
    assert few < many


def test_the_most_held_out_prompts_of_each_tier_can_be_asked_for_and_no_more():
    most = {tier: TASK.largest_held_out(tier) for tier in TIERS}
    prompts = TASK.evaluation_prompts(DATA.operations, Evaluation(prompts_per_class=most), seed=0)
    counts = Counter((item.tier, item.operation) for item in prompts)
    assert counts == {(tier, operation): most[tier] for tier in TIERS for operation in DATA.operations}
    for tier in TIERS:
        too_many = Evaluation(prompts_per_class={**most, tier: most[tier] + 1})
        with pytest.raises(IndexError):
            TASK.evaluation_prompts(DATA.operations, too_many, seed=0)


def test_prompts_that_probes_are_fitted_on_are_trained_ones_each_once_and_equally_many_of_each_operation():
    prompts = TASK.fitting_prompts(["multiply", "add", "subtract"], 60, seed=0)
    assert len(prompts) == len(set(prompts)) == 180
    assert {item.tier for item in prompts} == {"symbolic"}
    assert [item.operation for item in prompts[:6]] == ["multiply", "add", "subtract"] * 2
    assert not any(is_held_out(*item.numbers, DATA.held_out) for item in prompts)
    assert len(TASK.fitting_prompts(["multiply", "add"], 10**6, seed=0)) == 2 * len(operand_pairs(DATA, "add", False))
    assert prompts == TASK.fitting_prompts(["multiply", "add", "subtract"], 60, seed=0)
    assert prompts != TASK.fitting_prompts(["multiply", "add", "subtract"], 60, seed=1)


def test_the_vocabulary_holds_every_word_of_every_prompt():
    words = set(vocabulary())
    for tier in TIERS:
        for operation in OPERATIONS:
            for template in range(len(templates(tier, operation))):
                text = prompt(tier, operation, template, 47, 12).text
                assert set(re.findall(r"[A-Za-z]{2,}", text)) <= words


def test_the_usual_class_tokens_stand_in_no_template():
    assert words_of_templates().isdisjoint({"multiply", "add", "subtract", "river", "copper"})
    assert {"times", "plus", "product", "sum", "seven", "hens"} <= words_of_templates()
