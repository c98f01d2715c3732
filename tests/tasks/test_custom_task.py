"""The prompts of a custom task: drawn as those of arithmetic are."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from study.config.evaluation import Evaluation
from study.config.examples import Example, Examples
from study.lens.tokens import Encoded
from study.measures import predictors
from study.models.built import word_tokenizer
from study.plan.read import read_study
from study.tasks import Task, task_of
from study.tasks.from_file import FileTask
from study.tasks.prompts import shuffled_label

CAPITALS = Path(__file__).parents[2] / "configs" / "capitals.yaml"
CLASSES = ["Europe", "Asia", "Africa"]


@pytest.fixture(scope="module")
def capitals() -> Examples:
    data = read_study(CAPITALS).study.data
    assert isinstance(data, Examples)
    return data


@pytest.fixture(scope="module")
def task(capitals: Examples) -> Task:
    return task_of(capitals)


def one(name: str, split: str, group: str | None = None, answer: str = "yes") -> Example:
    return Example.model_validate(
        {"prompt": f"{name} {group} {answer} {split}", "answer": answer, "class": name, "split": split, "group": group}
    )


def test_every_country_has_one_continent_and_one_capital_and_each_wording_enough_for_an_outcome(
    capitals: Examples,
) -> None:
    told = {(line.group, line.operation, line.answer) for line in capitals.lines}
    assert len(told) == len({group for group, _, _ in told}) == len({answer for _, _, answer in told}) == 60
    assert Counter(kind for _, kind, _ in told) == dict.fromkeys(CLASSES, 20)
    tested = Counter(line.wording for line in capitals.lines if line.split == "test")
    assert tested.keys() == {"statement", "question", "journey"}
    assert min(tested.values()) >= 35  # 35 of 35 has a lower bound of 90 %


def test_a_batch_is_a_function_of_seed_and_step(task: Task) -> None:
    def batch(seed: int, step: int) -> list[str]:
        return [item.text for item in task.training_prompts(CLASSES, ["statement"], seed, step, 8)]

    assert batch(3, 7) == batch(3, 7)
    assert batch(3, 7) != batch(3, 8)
    assert batch(3, 7) != batch(4, 7)


def test_batches_hold_every_class_equally_and_nothing_that_is_tested(task: Task, capitals: Examples) -> None:
    counts: Counter[str] = Counter()
    tested = {line.about for line in capitals.lines if line.split == "test"}
    for step in range(60):
        prompts = task.training_prompts(["Asia", "Africa"], ["statement"], 0, step, 5)
        counts.update(item.operation for item in prompts)
        assert all(item.tier == "statement" and item.operands not in tested for item in prompts)
    assert abs(counts["Asia"] - counts["Africa"]) <= 60
    assert counts.total() == 300


def test_evaluation_prompts_are_distinct_test_prompts_as_many_as_asked_for(task: Task, capitals: Examples) -> None:
    asked = Evaluation.model_construct(prompts_per_class={"statement": 16, "question": 3, "journey": 5})
    prompts = task.evaluation_prompts(CLASSES, asked, seed=0)
    tested = {line.prompt for line in capitals.lines if line.split == "test"}
    assert {item.text for item in prompts} <= tested
    assert len({item.text for item in prompts}) == len(prompts)
    counts = Counter((item.tier, item.operation) for item in prompts)
    assert list(dict.fromkeys(item.tier for item in prompts)) == ["statement", "question", "journey"]
    assert counts == {(tier, kind): asked.prompts_in(tier) for tier in capitals.tiers for kind in CLASSES}


def test_asking_for_more_evaluation_prompts_keeps_those_that_were_there(task: Task) -> None:
    few, many = (set(task.evaluation_prompts(CLASSES, Evaluation(prompts_per_class=n), seed=0)) for n in (4, 15))
    assert few < many
    assert few != set(task.evaluation_prompts(CLASSES, Evaluation(prompts_per_class=4), seed=1))


def test_prompts_that_probes_are_fitted_on_are_trained_ones_each_once_and_in_turn(task: Task) -> None:
    prompts = task.fitting_prompts(CLASSES, 10, seed=0)
    assert len(set(prompts)) == len(prompts) == 30
    assert [item.operation for item in prompts[:6]] == CLASSES * 2
    assert {item.tier for item in prompts} == {"statement"}
    assert len(task.fitting_prompts(CLASSES, 10**6, seed=0)) == 3 * 24


def test_templates_tell_apart_what_the_file_does_within_a_class_and_wording(task: Task) -> None:
    prompts = task.evaluation_prompts(CLASSES, Evaluation(prompts_per_class=16), 0)
    assert len({item.template for item in prompts}) == 3 * 2
    assert {item.template for item in prompts if item.text.startswith("The capital of")} == {"statement-capital"}
    for template in {item.template for item in prompts}:
        assert {item.operation for item in prompts if item.template == template} == set(CLASSES)


def test_the_words_of_all_prompts_are_known_and_classes_are_none_of_them(task: Task) -> None:
    assert {"the", "capital", "france", "uzbekistan", "mia"} <= task.words
    assert task.words.isdisjoint({"europe", "asia", "africa", "paris"})


def test_the_vocabulary_has_every_word_and_character_of_prompts_and_answers_in_any_script() -> None:
    texts = [("Où est नई दिल्ली? 7_x", "भारत"), ("北京 is in", "中国😀")]
    lines = [
        Example.model_validate({"prompt": prompt, "answer": answer, "class": f"c{i}", "split": split})
        for i, (prompt, answer) in enumerate(texts)
        for split in ("train", "test")
    ]
    task = FileTask(Examples.of("x.jsonl", "0" * 64, lines))
    assert {"Où", "est", "नई", "दिल्ली", "x", "भारत", "北京", "is", "in", "中国", "c0", "c1", "😀", "ù"} <= set(
        task.vocabulary
    )
    assert {"7", "_", "?", "7_x"}.isdisjoint(task.vocabulary)
    tokenizer = word_tokenizer(task.vocabulary)
    for prompt, answer in texts:
        assert tokenizer.unk_token_id not in tokenizer.encode(f"{prompt} {answer}")
    assert {"où", "दिल्ली", "北京"} <= task.words


def test_the_counterfactual_is_of_the_group_and_template_or_of_any_test_prompt_of_the_class() -> None:
    shared = [one(name, "test", "7,8", answer) for name, answer in (("divide", "0"), ("multiply", "56"))]
    lines = [*shared, one("multiply", "test", "7,9", "63"), one("multiply", "test", "9,9", "81")]
    lines += [one("divide", "test", "2,2", "1"), one("multiply", "train", "1,1", "1")]
    own = FileTask(Examples.of("x.jsonl", "0" * 64, lines))
    by_group = {item.operands: item for item in own.evaluation_prompts(["divide"], Evaluation(), 0)}
    tested = {item.text: item for item in own.evaluation_prompts(["multiply"], Evaluation(), 0)}
    same = own.counterfactual(by_group["7,8"], "multiply")
    assert (same.operation, same.operands, same.answer) == ("multiply", "7,8", "56")
    other = own.counterfactual(by_group["2,2"], "multiply")
    assert other == own.counterfactual(by_group["2,2"], "multiply") == tested[other.text]
    assert other.answer in {"56", "63", "81"}


def test_of_several_prompts_of_a_group_the_counterfactual_is_the_one_in_the_same_template() -> None:
    def line(name: str, template: str) -> Example:
        text = f"{name} in {template}"
        told = {"prompt": text, "answer": "yes", "class": name, "split": "test", "group": "g", "template": template}
        return Example.model_validate(told)

    lines = [line(name, template) for name in ("a", "b") for template in ("t0", "t1", "t2", "t3")]
    lines += [one(name, "train") for name in ("a", "b")]
    own = FileTask(Examples.of("x.jsonl", "0" * 64, lines))
    for item in own.evaluation_prompts(["a"], Evaluation(), 0):
        assert own.counterfactual(item, "b").template == item.template


def test_shuffled_labels_are_a_permutation_of_the_classes_in_each_template(task: Task) -> None:
    drawn: dict[str, dict[str, str]] = {}
    for item in task.evaluation_prompts(CLASSES, Evaluation(prompts_per_class=16), 0):
        label = shuffled_label(item, CLASSES, 0)
        assert drawn.setdefault(item.template, {}).setdefault(item.operation, label) == label
    assert all(sorted(labels.values()) == sorted(labels) == sorted(CLASSES) for labels in drawn.values())


def test_prompts_that_a_control_is_tested_on_are_test_prompts_in_the_trained_wording(
    task: Task, capitals: Examples
) -> None:
    tested = {line.prompt for line in capitals.lines if line.split == "test"}
    prompts = task.fitting_prompts(CLASSES, 10, seed=0, held_out=True)
    assert [item.operation for item in prompts] == CLASSES * 10
    assert {item.text for item in prompts} <= tested
    assert {item.tier for item in prompts} == {"statement"}


def test_a_control_whose_only_template_keeps_the_labels_or_turns_them_round_is_passed_by_the_probe_itself() -> None:
    lines = [one(name, split, f"{split}{i}") for split in ("train", "test") for name in "ab" for i in range(4)]
    own = FileTask(Examples.of("x.jsonl", "0" * 64, lines))
    names = ["a", "b"]
    asked = [
        [Encoded(item, (1,), (2,)) for item in prompts]
        for prompts in (
            own.fitting_prompts(names, 4, 0),
            own.evaluation_prompts(names, Evaluation(), 0),
            own.fitting_prompts(names, 4, 0, held_out=True),
        )
    ]
    states = [np.array([[[1.0 if item.prompt.operation == "a" else -1.0]] for item in items]) for items in asked]
    for seed in range(6):
        (figures,) = predictors._probes(states, asked, seed).values()
        assert figures == {"probe": 1.0, "probe_seen": 1.0, "probe_control": 1.0}
