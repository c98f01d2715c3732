import re
from collections import Counter

import pytest

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import OPERATIONS, TIERS
from study.config.wordings import number_word, templates, vocabulary, words_of_templates
from study.tasks.arithmetic import Arithmetic, is_held_out, operand_pairs, prompt_of

DATA = Data()
WITH_SUBTRACTION = [
    Data(operations=["subtract", "add"]),
    Data(operations=["multiply", "subtract"]),
    Data(operations=["multiply", "add", "subtract"]),
]
TASK = Arithmetic(DATA)


@pytest.mark.parametrize("data", [DATA, *WITH_SUBTRACTION])
def test_no_unordered_pair_is_on_both_sides_of_the_split(data):
    trained, held_out = (operand_pairs(data, side) for side in (False, True))
    assert {frozenset(pair) for pair in trained}.isdisjoint(frozenset(pair) for pair in held_out)
    unordered = {frozenset((a, b)) for a in range(2, 21) for b in range(2, 21)}
    assert {frozenset(pair) for pair in (*trained, *held_out)} == unordered


@pytest.mark.parametrize("data", WITH_SUBTRACTION)
@pytest.mark.parametrize("side", [True, False])
def test_where_the_study_subtracts_the_larger_operand_is_first_for_every_operation(data, side):
    assert set(operand_pairs(data, side)) == {pair for pair in operand_pairs(DATA, side) if pair[0] >= pair[1]}
    for step in range(20):
        prompts = Arithmetic(data).training_prompts(data.operations, TIERS, 0, step, 12)
        assert all(item.numbers[0] >= item.numbers[1] for item in prompts)


def test_where_the_study_does_not_subtract_both_orders_occur():
    for side in (True, False):
        pairs = set(operand_pairs(DATA, side))
        assert pairs == {(b, a) for a, b in pairs}
        assert any(a < b for a, b in pairs)


def test_a_larger_range_leaves_the_split_of_the_smaller_one_as_it_was():
    small = set(operand_pairs(DATA, True))
    large = set(operand_pairs(Data(largest=60), True))
    assert small == {pair for pair in large if max(pair) <= DATA.largest}


def test_the_held_out_share_is_about_what_was_asked_for():
    pairs = [(a, b) for a in range(100) for b in range(a + 1)]
    for share in (0.1, 0.3, 0.6):
        assert sum(is_held_out(a, b, share) for a, b in pairs) / len(pairs) == pytest.approx(share, abs=0.03)


def test_differences_are_never_negative():
    for data in WITH_SUBTRACTION:
        prompts = Arithmetic(data).evaluation_prompts(["subtract"], Evaluation(prompts_per_class=48), 0)
        assert min(int(item.answer) for item in prompts) >= 0


def test_answers_are_right_and_in_digits():
    for operation, result in (("multiply", "56"), ("add", "15"), ("subtract", "1")):
        for tier in TIERS:
            for template in templates(tier):
                assert prompt_of(template, operation, 8, 7).answer == result


def test_a_prompt_says_its_template_operands_and_order():
    item = prompt_of(templates("symbolic")[0], "subtract", 8, 7)
    assert (item.tier, item.template, item.operation) == ("symbolic", "symbolic-0", "subtract")
    assert (item.text, item.answer, item.numbers, item.operands) == ("8 - 7 =", "1", (8, 7), "7,8")
    assert (item.label, item.named, item.seen) == (None, "subtract", "")
    assert prompt_of(templates("symbolic")[0], "add", 7, 8).operands == "7,8"


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


@pytest.mark.parametrize("data", [DATA, *WITH_SUBTRACTION])
def test_all_operations_are_asked_with_the_same_operands_in_the_same_templates(data):
    prompts = Arithmetic(data).evaluation_prompts(data.operations, Evaluation(prompts_per_class=70), seed=0)
    asked = [
        [(item.template, item.numbers) for item in prompts if item.operation == operation]
        for operation in data.operations
    ]
    assert all(one == asked[0] for one in asked)


def test_as_many_evaluation_prompts_are_in_held_out_templates_as_in_others():
    held_out = {one.name: one.held_out for tier in TIERS for one in templates(tier)}
    for count in (8, 24, 30):
        asked = TASK.evaluation_prompts(DATA.operations, Evaluation(prompts_per_class=count), seed=0)
        sides = Counter((item.tier, item.operation, held_out[item.template]) for item in asked)
        assert set(sides.values()) == {count // 2}
        assert len(sides) == 4 * 2 * 2


def test_a_template_that_has_been_asked_once_is_asked_again_with_other_operands_only():
    most = TASK.largest_held_out("story")
    prompts = TASK.evaluation_prompts(["add"], Evaluation(prompts_per_class=most), seed=0)
    asked = [(item.template, item.numbers) for item in prompts]
    assert len(set(asked)) == len(asked) == 4 * most


def test_the_counterfactual_differs_in_the_operation_and_the_answer_alone():
    for item in TASK.evaluation_prompts(DATA.operations, Evaluation(prompts_per_class=40), seed=3):
        other = "add" if item.operation == "multiply" else "multiply"
        (template,) = (one for one in templates(item.tier) if one.name == item.template)
        assert TASK.counterfactual(item, other) == prompt_of(template, other, *item.numbers)
        assert TASK.counterfactual(TASK.counterfactual(item, other), item.operation) == item


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
        too_many = Evaluation(prompts_per_class={**dict.fromkeys(TIERS, 1), tier: most[tier] + 1})
        asked = TASK.evaluation_prompts(DATA.operations, too_many, seed=0)
        assert sum(item.tier == tier for item in asked) == len(DATA.operations) * most[tier]


@pytest.mark.parametrize("held_out", [False, True])
def test_prompts_that_probes_are_fitted_on_are_in_trained_templates_each_once_and_in_turn(held_out):
    data = Data(operations=["multiply", "add", "subtract"])
    task, names = Arithmetic(data), ["multiply", "add", "subtract"]
    prompts = task.fitting_prompts(names, 60, 0, held_out)
    assert len(prompts) == len(set(prompts)) == 180
    assert [item.operation for item in prompts] == names * 60
    trained = [one.name for one in templates("symbolic") if not one.held_out]
    assert {item.template for item in prompts} == set(trained)
    assert {is_held_out(*item.numbers, DATA.held_out) for item in prompts} == {held_out}
    for start in range(0, 180, 3):  # a group differs in the operation alone
        assert len({(item.template, item.numbers) for item in prompts[start : start + 3]}) == 1
    all_there_are = len(operand_pairs(data, held_out)) * len(trained)
    assert len(task.fitting_prompts(["multiply", "add"], 10**6, 0, held_out)) == 2 * all_there_are
    assert prompts == task.fitting_prompts(names, 60, 0, held_out)
    assert prompts != task.fitting_prompts(names, 60, 1, held_out)


def test_the_vocabulary_holds_every_word_of_every_prompt():
    words = set(vocabulary())
    for tier in TIERS:
        for operation in OPERATIONS:
            for template in templates(tier):
                text = prompt_of(template, operation, 47, 12).text
                assert set(re.findall(r"[A-Za-z]{2,}", text)) <= words


def test_the_usual_class_tokens_stand_in_no_template():
    assert words_of_templates().isdisjoint({"multiply", "add", "subtract", "river", "copper"})
    assert {"times", "plus", "product", "sum", "seven", "shelf"} <= words_of_templates()
