import string

import pytest

from study.config.names import OPERATIONS, TIERS
from study.config.wordings import number_word, templates


def fields(template):
    return sorted(name.lower() for _, name, _, _ in string.Formatter().parse(template) if name)


@pytest.mark.parametrize("tier", TIERS)
def test_the_classes_of_a_tier_have_equally_many_templates_all_different(tier):
    each = [templates(tier, operation) for operation in OPERATIONS]
    assert len({len(one) for one in each}) == 1
    assert len({template for one in each for template in one}) == sum(len(one) for one in each)


@pytest.mark.parametrize("tier", ["construction", "story"])
def test_transfer_tiers_have_at_least_eight_templates_a_class(tier):
    assert all(len(templates(tier, operation)) >= 8 for operation in OPERATIONS)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_template_names_both_operands_once_and_ends_without_a_space(tier, operation):
    for template in templates(tier, operation):
        assert fields(template) == ["a", "b"]
        assert template == template.strip()


@pytest.mark.parametrize("tier", TIERS)
def test_matching_templates_end_alike_so_that_the_last_token_tells_nothing(tier):
    matched = zip(*(templates(tier, operation) for operation in OPERATIONS), strict=True)
    for group in matched:
        assert len({template.split()[-1] for template in group}) == 1


def test_the_first_operand_of_a_story_of_subtraction_is_the_one_taken_from():
    for template in templates("story", "subtract"):
        assert template.index("{a}") < template.index("{b}")


def test_templates_fill_with_digits_or_with_words():
    filled = templates("semantic", "multiply")[0].format(a=7, b=8, A=number_word(7), B=number_word(8))
    assert filled == "seven times eight ="
