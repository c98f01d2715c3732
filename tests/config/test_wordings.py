"""The grammar of the wordings: enough templates on both sides of a split that never moves, and matched texts."""

import hashlib
import re
import string
from itertools import pairwise

import pytest

from study.config.evaluation import Decisions
from study.config.names import OPERATIONS, TIERS
from study.config.wordings import number_word, templates, vocabulary, words_of_templates
from study.lens.tokens import COMMON_WORDS
from study.tasks.nursery_text import UNRELATED

# Those of the studies in configs/, and of the examples: a word of them in a prompt would stop a study.
CLASS_TOKENS = {"multiply", "add", "subtract", "river", "copper"}
HELD_OUT_STORIES = (
    "story-0 story-1 story-2 story-3 story-9 story-10 story-11 story-12 story-13 story-14 story-15 story-17 "
    "story-19 story-20 story-22 story-23 story-24 story-25 story-26 story-27 story-28 story-30 story-31 "
    "story-33 story-34 story-36 story-37 story-38 story-39 story-41 story-44 story-45 story-46 story-47 "
    "story-48 story-50 story-51 story-52 story-53"
)


def fields(text):
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def every_text():
    return [(one, text) for tier in TIERS for one in templates(tier) for text in one.texts.values()]


@pytest.mark.parametrize("tier", TIERS)
def test_each_tier_has_many_templates_on_both_sides_of_the_split(tier):
    held_out = sum(one.held_out for one in templates(tier))
    assert held_out >= Decisions().samples_needed == 36
    assert len(templates(tier)) - held_out >= 15


@pytest.mark.parametrize("tier", TIERS)
def test_a_template_is_named_by_its_tier_and_its_number_and_has_a_text_for_every_operation(tier):
    assert [one.name for one in templates(tier)] == [f"{tier}-{i}" for i in range(len(templates(tier)))]
    assert all(one.tier == tier and tuple(one.texts) == OPERATIONS for one in templates(tier))
    assert not any(operation in one.name for one in templates(tier) for operation in OPERATIONS)


def test_the_split_is_that_of_results_on_disk():
    assert [one.name for one in templates("story") if one.held_out] == HELD_OUT_STORIES.split()


def test_the_split_is_a_hash_of_tier_frame_and_filler_alone():
    frame, filler = "{a} SIGN {b} =", "Compute: "
    (one,) = (one for one in templates("symbolic") if one.texts["add"] == "Compute: {a} + {b} =")
    assert one.held_out == (hashlib.sha256(f"0|symbolic|{frame}|{filler}".encode()).digest()[0] < 0.7 * 256)


def test_a_tier_has_no_pattern_by_which_a_template_is_held_out():
    for tier in TIERS:
        sides = [one.held_out for one in templates(tier)]
        assert 0.2 < sum(one != other for one, other in pairwise(sides)) / (len(sides) - 1) < 0.75
        assert 0.6 < sum(sides) / len(sides) < 0.8


def test_the_prompt_of_the_published_experiment_can_be_trained_on():
    (plain,) = (one for one in templates("symbolic") if one.texts["multiply"] == "{a} * {b} =")
    assert plain.texts == {"multiply": "{a} * {b} =", "add": "{a} + {b} =", "subtract": "{a} - {b} ="}
    assert not plain.held_out
    assert plain.name == "symbolic-0"


def test_all_texts_are_different_and_none_differs_from_another_in_case_or_spaces_alone():
    texts = [text for _, text in every_text()]
    assert len(set(texts)) == len(texts)
    assert len({text.format(a=7, b=3, A="seven", B="three") for text in texts}) == len(texts)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_text_names_both_operands_once_the_first_before_the_second_and_ends_without_a_space(tier, operation):
    for one in templates(tier):
        assert [name.lower() for name in fields(one.texts[operation])] == ["a", "b"]
        assert one.texts[operation] == one.texts[operation].strip()
        assert len({name.isupper() for name in fields(one.texts[operation])}) == 1


@pytest.mark.parametrize("tier", TIERS)
def test_the_texts_of_a_template_name_their_operands_alike(tier):
    for one in templates(tier):
        assert len({tuple(fields(text)) for text in one.texts.values()}) == 1, one.name


@pytest.mark.parametrize("tier", TIERS)
def test_the_texts_of_a_template_end_alike_so_that_the_last_token_tells_nothing(tier):
    for one in templates(tier):
        # As fine as any tokenizer divides: words, numbers and single signs.
        ends = {tuple(re.findall(r"\{\w\}|[A-Za-z]+|\S", text))[-1:] for text in one.texts.values()}
        assert len(ends) == 1, one.name


def test_the_sign_is_taken_from_the_texts_of_no_other_operation():
    for one in templates("symbolic"):
        for operation, sign in {"multiply": "*", "add": "+", "subtract": "-"}.items():
            assert [other for other in "*+-" if other in one.texts[operation]] == [sign]


def test_the_first_operand_of_a_subtraction_is_the_one_taken_from():
    """In words, what is taken stands with the second operand: `{a} … and {b} are gone`."""
    taken = re.compile(
        r"\{b\} (?:of them away|are gone|were used|got lost|coins less|fell|forgot)|(?:forgot|breaks) \{b\}"
    )
    for one in templates("story"):
        text = one.texts["subtract"]
        assert text.index("{a}") < text.index("{b}")
        assert taken.search(text), text
    for tier in ("symbolic", "semantic"):
        for one in templates(tier):
            first, second = fields(one.texts["subtract"])
            between = one.texts["subtract"].partition(f"{{{first}}}")[2].partition(f"{{{second}}}")[0]
            assert between.strip() in ("-", "minus", "decreased by", "take away")


def test_templates_fill_with_digits_or_with_words():
    filled = templates("semantic")[0].texts["multiply"].format(a=7, b=8, A=number_word(7), B=number_word(8))
    assert filled == "seven times eight ="


def test_no_text_has_a_class_token_or_a_word_that_random_words_are_drawn_from_in_the_nursery():
    assert words_of_templates().isdisjoint(CLASS_TOKENS)
    assert words_of_templates().isdisjoint(UNRELATED)


def test_enough_common_words_stand_in_no_text_for_random_words_to_be_drawn():
    free = set(COMMON_WORDS.read_text().split()) - words_of_templates()
    assert len(free) > 400
    assert set(UNRELATED) <= free


def test_the_words_and_the_vocabulary_are_those_of_the_texts_alone():
    written = {word for _, text in every_text() for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w\}", " ", text))}
    numbers = {part for number in range(100) for part in number_word(number).split("-")}
    assert words_of_templates() == {word.lower() for word in written} | numbers
    assert vocabulary() == sorted({word for word in written if len(word) > 1} | numbers)
