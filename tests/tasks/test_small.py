"""The small tasks: what their prompts ask, what gives a class away, and what training sees."""

import re
from collections import Counter
from itertools import pairwise

import pytest

from study.config.evaluation import Evaluation
from study.config.small_tasks import SMALL_TASKS, SmallTasks
from study.tasks.prompts import Prompt
from study.tasks.small import SOURCES, Small
from study.tasks.small.text import SmallText

DATA = SmallTasks(tasks=["sums", "things", "swaps"])
TASK = Small(DATA)
TEXT = SmallText(DATA, ["add", "subtract", "animal", "tool", "straight", "crossed"])
TIERS = [(name, tier) for name, task in SMALL_TASKS.items() for tier in task.tiers]
FEWEST = 24
"""Held-out templates of a tier, over which its intervals are."""
FUNCTION_WORDS = set("a all and at by each if is it of some that the to until we what you".split())


def every(name: str, tier: str) -> list[Prompt]:
    """A prompt of every template, on either side of both splits, of both classes."""
    source = SOURCES[name]
    return [
        source.prompt(template, operation, content)
        for side in (True, False)
        for number, template in enumerate(source.templates(tier, side))
        for contents in [source.contents(tier, number % 2 == 0)]
        for content in contents[number % 7 :: max(1, len(contents) // 3)]
        for operation in source.operations
    ]


@pytest.mark.parametrize(("name", "tier"), TIERS)
def test_templates_and_contents_are_on_one_side_and_there_are_enough(name: str, tier: str) -> None:
    source = SOURCES[name]
    held_out, trained = (source.templates(tier, side) for side in (True, False))
    assert len(held_out) >= FEWEST
    assert len(trained) >= 12
    assert {one.name for one in held_out}.isdisjoint(one.name for one in trained)
    texts = [{tuple(one.texts.values()) for one in side} for side in (held_out, trained)]
    assert name == "swaps" or texts[0].isdisjoint(texts[1])  # whose templates differ in the place of a move, too
    contents = [set(source.contents(tier, side)) for side in (True, False)]
    assert contents[0].isdisjoint(contents[1])
    assert len(contents[0]) >= 24


WORDS = {"plus": 1, "with": 1, "up": 1, "and": 1, "minus": -1, "without": -1, "less": -1, "down": -1, "+": 1, "-": -1}
PAIRS = {"increased by": 1, "raised by": 1, "decreased by": -1, "lowered by": -1}
NOUNS = {"sum": 1, "total": 1, "whole": 1, "difference": -1, "gap": -1, "rest": -1}
VERBS = {
    **dict.fromkeys("finds buys gets wins takes adopts".split(), 1),
    **dict.fromkeys("loses sells gives drops leaves releases".split(), -1),
}


def sign_of(prompt: Prompt) -> int:
    """What a reader would do with the two numbers of a sum, from the text alone: +1 adds, -1 subtracts."""
    text, words = prompt.text, prompt.text.split()
    if prompt.tier == "defined":
        used = re.search(r"; \d+ (\w+) \d+$", text)
        assert used
        return 1 if f"{used[1]} plus" in text.partition(";")[0] else -1
    if prompt.tier in ("nouns", "stories"):
        (sign,) = {(NOUNS if prompt.tier == "nouns" else VERBS)[word] for word in words if word in {**NOUNS, **VERBS}}
        return sign
    signs = [sign for phrase, sign in PAIRS.items() if phrase in text]
    # `and` and `up` are operators only right before a number, and so are the others.
    signs += [WORDS[word] for word, after in pairwise(words) if word in WORDS and after.isdigit()]
    (sign,) = signs
    return -sign if prompt.tier == "inverse" else sign


@pytest.mark.parametrize("tier", SMALL_TASKS["sums"].tiers)
def test_a_sum_asks_what_its_class_says_and_has_that_answer(tier: str) -> None:
    for prompt in every("sums", tier):
        a, b = map(int, prompt.operands.split(","))
        assert a >= b
        assert sign_of(prompt) == (1 if prompt.operation == "add" else -1), prompt.text
        assert prompt.answer == str(a + sign_of(prompt) * b)
        assert sorted(map(int, re.findall(r"\d+", prompt.text))) == sorted((a, b))


def meant(prompt: Prompt, kinds: dict[str, str], does: dict[str, str]) -> str:
    """The thing that a prompt means, from its text alone."""
    words = prompt.text.split()
    named = [word for word in words if word in kinds]
    if prompt.tier in ("named", "far"):
        (thing,) = named
    elif prompt.tier == "chosen":
        (verb,) = (word for word in words if word in does)
        (thing,) = (one for one in set(named) if kinds[one] == does[verb])
    elif prompt.tier == "excluded":
        ((thing, _),) = (one for one in Counter(named).items() if one[1] == 1)
    else:
        (name,) = re.findall(r"; (\w+) at ", prompt.text)
        (thing,) = re.findall(rf"\b{name} (\w+)", prompt.text.partition(";")[0])
    return thing


@pytest.mark.parametrize("tier", SMALL_TASKS["things"].tiers)
def test_a_thing_is_the_one_that_is_meant_and_is_where_its_kind_is_at_that_time(tier: str) -> None:
    verbs: dict[str, set[str]] = {}
    for thing, verb in re.findall(r"^a (\w+) (\w+)$", "\n".join(SOURCES["things"].facts()), re.MULTILINE):
        verbs.setdefault(verb, set()).add(thing)
    things = {thing for found in verbs.values() for thing in found}
    animals = next(found for found in verbs.values() if "dog" in found)
    kinds = {thing: "animal" if thing in animals else "tool" for thing in things}
    does = {verb: "animal" if "dog" in found else "tool" for verb, found in verbs.items()}
    assert all(found in (animals, things - animals) for found in verbs.values())
    places: dict[tuple[str, str], set[str]] = {}
    for prompt in every("things", tier):
        thing, time = meant(prompt, kinds, does), prompt.text.split()[-1]
        assert kinds[thing] == prompt.operation, prompt.text
        places.setdefault((prompt.operation, time), set()).add(prompt.answer)
    # One place for a kind and a time; two are of both kinds, at different times, and four of one.
    assert all(len(found) == 1 for found in places.values())
    of_each = Counter(place for found in places.values() for place in found)
    assert sorted(of_each.values()) == [1, 1, 1, 1, 2, 2]
    for asked in ("animal", "tool"):
        assert len({place for (kind, _), found in places.items() if kind == asked for place in found}) == 4


@pytest.mark.parametrize("tier", SMALL_TASKS["swaps"].tiers)
def test_things_that_change_places_end_where_their_moves_bring_them(tier: str) -> None:
    for prompt in every("swaps", tier):
        words = prompt.text.replace(",", "").replace(":", "").replace(";", "").replace(".", "").split()
        first, second, _ = prompt.operands.split(",")
        ends, changes = [first, second], 0
        for word in words[words.index(second) + 1 :]:
            if word in ("swap", "turn", "cross", "flip", "trade"):
                ends, changes = ends[::-1], changes + 1
        if tier == "negated":  # "not swap" keeps
            ends, changes = ends[::-1], changes + 1
        assert prompt.answer == ends[0], prompt.text
        assert prompt.operation == ("crossed" if changes % 2 else "straight")


@pytest.mark.parametrize(("name", "tier"), TIERS)
def test_the_other_class_is_asked_with_the_same_contents_in_the_same_template(name: str, tier: str) -> None:
    evaluated = TASK.evaluation_prompts(DATA.operations, Evaluation(prompts_per_class=48), 0)
    own = [prompt for prompt in evaluated if prompt.tier == tier]
    by_class = {
        operation: Counter((prompt.template, prompt.operands) for prompt in own if prompt.operation == operation)
        for operation in SOURCES[name].operations
    }
    one, other = by_class.values()
    assert one == other
    assert sum(one.values()) == 48
    for prompt in own:
        (operation,) = set(SOURCES[name].operations) - {prompt.operation}
        beside = TASK.counterfactual(prompt, operation)
        assert (beside.template, beside.operands, beside.operation) == (prompt.template, prompt.operands, operation)
        assert beside.text != prompt.text
        assert beside in own


def test_what_is_held_out_is_never_trained_on_and_what_is_evaluated_is_held_out() -> None:
    pretrained = [prompt for step in range(300) for prompt in TEXT.prompts(0, step, 48)]
    labelled = [prompt for names in DATA.by_task for prompt in TASK.training_prompts(names, DATA.tiers, 0, 1, 200)]
    trained = [*pretrained, *labelled]
    evaluated = TASK.evaluation_prompts(DATA.operations, Evaluation(prompts_per_class=48), 0)
    for name, tier in TIERS:
        held_out = {one.name for one in SOURCES[name].templates(tier, True)}
        # All sums are told in *signs*, and those that are held out are asked nowhere else.
        seen = [prompt for prompt in (labelled if tier == "signs" else trained) if prompt.tier == tier]
        asked = [prompt for prompt in evaluated if prompt.tier == tier]
        assert {prompt.template for prompt in seen}.isdisjoint(held_out)
        assert {prompt.operands for prompt in seen}.isdisjoint({prompt.operands for prompt in asked})
        assert held_out <= {prompt.template for prompt in asked} or len(held_out) > 48 // 2
    assert TEXT.held_out(trained, []) == 0
    assert TEXT.held_out(evaluated, []) == sum(prompt.tier != "signs" for prompt in evaluated)
    sums = {prompt.operands for prompt in pretrained if prompt.tier == "signs"}
    assert {prompt.operands for prompt in evaluated if prompt.tier in SMALL_TASKS["sums"].tiers} <= sums
    assert {prompt.template for prompt in trained} <= TEXT.templates


def test_batches_are_functions_of_their_arguments_and_have_every_tier() -> None:
    again = SmallText(DATA, TEXT.words)
    assert TEXT.prompts(1, 5, 40) == again.prompts(1, 5, 40)
    assert TEXT.sentences(1, 5, 40) == again.sentences(1, 5, 40)
    assert TEXT.prompts(1, 5, 40) != TEXT.prompts(1, 6, 40)
    drawn = Counter(prompt.tier for step in range(100) for prompt in TEXT.prompts(0, step, 48))
    assert set(drawn) == set(DATA.tiers)
    assert drawn["bound"] > 3 * drawn["words"]


def test_class_names_are_taught_alike_and_in_words_that_no_prompt_has() -> None:
    asked = {word for word in TASK.vocabulary if not word.isdigit()}
    assert not {"add", "subtract", "animal", "tool", "straight", "crossed"} & asked
    assert not set(TEXT.taught) & asked
    assert len(TEXT.taught) >= 6 + 8
    told = Counter(
        word
        for step in range(2000)
        for sentence in TEXT.sentences(0, step, 24)
        for word in TEXT.taught
        if sentence.text in TEXT.taught[word]
    )
    assert max(told.values()) < 1.3 * min(told.values())
    for word, sentences in TEXT.taught.items():
        assert len({*sentences}) == 3
        others = {part for sentence in sentences for part in sentence.split()} - {word} - FUNCTION_WORDS
        assert not others & asked, word
        assert all(re.search(rf"\b{word}\b", sentence) for sentence in sentences)
    own = {word: {part for one in sentences for part in one.split()} for word, sentences in TEXT.taught.items()}
    for word, parts in own.items():  # words of its own, in each sentence
        elsewhere = {part for other, words in own.items() if other != word for part in words}
        assert all({*sentence.split()} - elsewhere - {word} for sentence in TEXT.taught[word])
        assert parts


def test_rows_are_short_and_every_word_is_known() -> None:
    known = {*TEXT.vocabulary}
    prompts = [prompt for name, tier in TIERS for prompt in every(name, tier)]
    for text in [*(f"{one.text} {one.answer}" for one in prompts), *(one.text for one in TEXT.sentences(0, 1, 200))]:
        assert len(text.split()) <= 17, text
        assert {word for word in re.findall(r"[a-z]{2,}|\d+", text)} <= known
    assert len(known) < 400
