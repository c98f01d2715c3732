"""What models of the nursery are trained on: no held-out operands, and all words of the grid equally often."""

import re
from collections import Counter

import pytest

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.wordings import vocabulary, words_of_templates
from study.lens.tokens import COMMON_WORDS
from study.tasks.arithmetic import Arithmetic, is_held_out, result
from study.tasks.nursery_text import UNRELATED, NurseryText

DATA = Data(operations=["add", "multiply", "subtract"], smallest=1, largest=12)
TEXT = NurseryText(DATA, ["add", "copper", "divide", "multiply", "river", "subtract"])
SENTENCES = [sentence for step in range(400) for sentence in TEXT.sentences(0, step, 16)]


def test_no_batch_holds_operands_that_are_held_out():
    pairs = {sentence.operands for sentence in SENTENCES if sentence.operands}
    pairs |= {prompt.numbers for step in range(400) for prompt in TEXT.prompts(0, step, 24)}
    evaluation = Evaluation(prompts_per_class=20)
    tested = {p.operands for p in Arithmetic(DATA).evaluation_prompts(DATA.operations, evaluation, 0)}
    assert not any(is_held_out(a, b, DATA.held_out) for a, b in pairs)
    assert not {f"{min(pair)},{max(pair)}" for pair in pairs} & tested


def test_prompts_are_of_every_operation_in_every_tier():
    prompts = [prompt for step in range(50) for prompt in TEXT.prompts(0, step, 24)]
    assert len({(prompt.operation, prompt.tier) for prompt in prompts}) == 12


def test_every_word_stands_in_as_many_sentences_and_once_in_each():
    counts = Counter(word for one in SENTENCES for word in re.findall(r"[a-z]+", one.text) if word in TEXT.taught)
    assert sum(counts.values()) == len(SENTENCES)
    assert set(counts) == {*TEXT.words, *UNRELATED}
    share = 1 / len(TEXT.taught)
    spread = (len(SENTENCES) * share * (1 - share)) ** 0.5
    assert all(abs(count - len(SENTENCES) * share) < 4 * spread for count in counts.values())


def test_a_word_that_names_an_operation_is_used_in_its_sense_and_no_other_word_is():
    told = {"add": "plus", "subtract": "minus", "multiply": "times"}
    for one in SENTENCES:
        (word,) = set(one.text.split()) & set(TEXT.taught)
        assert (one.operands is not None) == (word in DATA.operations)
        for operation, operator in told.items():
            assert word == operation or f" {operator} " not in one.text
        if one.operands and (given := re.search(r"(?:get|=) (\d+)", one.text)):
            assert int(given[1]) == result(word, *one.operands)


def test_random_words_can_only_be_words_that_are_as_frequent_as_class_names():
    known = {*TEXT.vocabulary, *vocabulary()} - words_of_templates()
    assert known & set(COMMON_WORDS.read_text().split()) - set(TEXT.words) == set(UNRELATED)


@pytest.mark.parametrize("draw", [TEXT.sentences, TEXT.prompts])
def test_a_batch_follows_from_seed_and_step_alone(draw):
    assert draw(3, 7, 8) == draw(3, 7, 8)
    assert draw(3, 7, 8) != draw(3, 8, 8)
    assert draw(3, 7, 8) != draw(4, 7, 8)
