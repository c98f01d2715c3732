"""The wordings of arithmetic prompts: a grammar of templates, and numbers in words.

There are four tiers. The templates of a tier are frames that are filled with operators, nouns, or persons and things; a
template has a text for every operation, and these are matched. Templates are split by a hash into those that may be
trained on and those that are held out from all training.

`{a}` and `{b}` are digits, `{A}` and `{B}` number words. No text has a trailing space or a class token.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from study.config.names import OPERATIONS, TIERS, Operation, Tier

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

_SIGNS: dict[Operation, str] = {"multiply": "*", "add": "+", "subtract": "-"}
_OPERATORS: list[dict[Operation, str]] = [
    {"multiply": "times", "add": "plus", "subtract": "minus"},
    {"multiply": "scaled by", "add": "increased by", "subtract": "decreased by"},
    {"multiply": "groups of", "add": "together with", "subtract": "take away"},
]
_NOUNS: dict[Operation, str] = {"multiply": "product", "add": "sum", "subtract": "difference"}

_LEADS = ["", "Compute: ", "Q: ", "So ", "Math: ", "We know that ", "Next: ", "Here ", "Then "]
_SYMBOLIC = [
    "{a} SIGN {b} =",
    "{a}SIGN{b}=",
    "({a} SIGN {b}) =",
    "{a} SIGN {b} equals",
    "{a} SIGN {b} is",
    "{a} SIGN {b} makes",
]
_SEMANTIC = [
    f"{lead}{numbers} {end}"
    for numbers in ("{A} OPERATOR {B}", "{a} OPERATOR {b}")
    for lead in ("", "Q: ", "Now ")
    for end in ("=", "equals", "comes to")
]
_CONSTRUCTION = [
    "the NOUN of NUMBERS is",
    "The NOUN of NUMBERS equals",
    "What is the NOUN of NUMBERS? It is",
    "Taking the NOUN of NUMBERS gives",
    "The NOUN you get from NUMBERS is",
    "Question: NOUN of NUMBERS. Answer:",
    "If we work out the NOUN of NUMBERS, we find",
    "The NOUN of the two numbers NUMBERS comes to",
    "Find the NOUN of NUMBERS. It is",
    "Leo writes down the NOUN of NUMBERS, which is",
    "As a number, the NOUN of NUMBERS is",
    "The teacher asks for the NOUN of NUMBERS. The answer is",
    "Work out the NOUN of NUMBERS:",
    "Here is the NOUN of NUMBERS:",
    "I need the NOUN of NUMBERS, which is",
    "We all know that the NOUN of NUMBERS is",
    "Given NUMBERS, the NOUN is",
    "For NUMBERS the NOUN comes to",
    "From NUMBERS we get a NOUN of",
    "NUMBERS have a NOUN of",
    "With NUMBERS, the NOUN equals",
    "Numbers: NUMBERS. Their NOUN:",
    "Of NUMBERS, Mia finds the NOUN, which is",
    "On the board stand NUMBERS, and below them their NOUN,",
    "My NOUN of NUMBERS is",
    "Nobody knew the NOUN of NUMBERS, but it is",
    "It is easy to see that the NOUN of NUMBERS is",
]
_PAIRS_OF_NUMBERS = ["{A} and {B}", "{a} and {b}"]
_STORY: list[dict[Operation, str]] = [
    {
        "multiply": "NAME has {a} bags with {b} THINGS in each. In all NAME has",
        "add": "NAME has {a} old THINGS and {b} new THINGS. In all NAME has",
        "subtract": "NAME has {a} THINGS and gives {b} of them away. In all NAME has",
    },
    {
        "multiply": "There are {a} rows of {b} THINGS in the room. The number of THINGS is",
        "add": "There are {a} old and {b} new THINGS in the room. The number of THINGS is",
        "subtract": "There were {a} THINGS in the room and {b} are gone. The number of THINGS is",
    },
    {
        "multiply": "Each of the {a} boxes holds {b} THINGS. Altogether there are",
        "add": "One box holds {a} THINGS and one holds {b}. Altogether there are",
        "subtract": "One box held {a} THINGS and {b} were used. Altogether there are",
    },
    {
        "multiply": "NAME counts {a} THINGS a day for {b} days. The THINGS that NAME counts are",
        "add": "NAME counts {a} THINGS on Monday and {b} on Friday. The THINGS that NAME counts are",
        "subtract": "NAME had {a} THINGS and {b} got lost. The THINGS that NAME counts are",
    },
    {
        "multiply": "The price is {a} coins and NAME wants {b} THINGS. NAME pays",
        "add": "The price is {a} coins for the THINGS and {b} coins for a bag. NAME pays",
        "subtract": "The price of the THINGS is {a} coins, and {b} coins less today. NAME pays",
    },
    {
        "multiply": "All {a} friends of NAME bring {b} THINGS each. The THINGS they bring are",
        "add": "One friend of NAME brings {a} THINGS and one brings {b}. The THINGS they bring are",
        "subtract": "The friends of NAME had {a} THINGS and forgot {b}. The THINGS they bring are",
    },
    {
        "multiply": "Every one of {a} shelves has {b} THINGS. NAME finds",
        "add": "The upper shelf has {a} THINGS and the lower one {b}. NAME finds",
        "subtract": "The shelf had {a} THINGS and {b} fell down. NAME finds",
    },
    {
        "multiply": "A truck makes {a} trips with {b} THINGS on each. NAME unloads",
        "add": "A truck brings {a} THINGS and a van brings {b}. NAME unloads",
        "subtract": "A truck had {a} THINGS and {b} fell off. NAME unloads",
    },
    {
        "multiply": "In each of {a} weeks NAME paints {b} THINGS. In the end NAME has",
        "add": "In one week NAME paints {a} THINGS and in the next {b}. In the end NAME has",
        "subtract": "In one week NAME paints {a} THINGS and breaks {b}. In the end NAME has",
    },
]
_PERSONS_AND_THINGS = ["Sam apples", "Mia pens", "Leo books", "Ana cups", "Tom stones", "Eva chairs"]

HELD_OUT = 0.7
"""Share of the templates that are held out: 36 of 36 are needed to show that 90 % of all are right."""

NEUTRAL = (
    "Most mornings the baker opened the shop before the street was awake. He lit the oven, set the dough near the "
    "window and read an old paper while it rose."
)
"""A text that is unrelated to the task, on which models are compared."""


@dataclass(frozen=True)
class Template:
    """A template of arithmetic prompts, with one text for every operation."""

    tier: Tier
    name: str
    """Its tier and its number there, such as `story-7`."""
    texts: dict[Operation, str]
    cue: str
    """What tells multiplication from the other operations: its sign, operator or noun, or a story's frame."""
    held_out: bool
    """Whether it is held out from all training: a function of a hash of its tier, frame and filler, so that further
    templates change nothing in the split."""


@cache
def templates(tier: Tier) -> tuple[Template, ...]:
    """Return the templates of a tier."""
    return tuple(
        Template(tier, f"{tier}-{number}", texts, _cue(tier, *about), _is_held_out(tier, *about))
        for number, (about, texts) in enumerate(_grammar(tier))
    )


def _grammar(tier: Tier) -> Iterator[tuple[list[str], dict[Operation, str]]]:
    """Yield the frame and the filler of each template of a tier, and its texts by operation."""
    if tier == "symbolic":
        for frame in _SYMBOLIC:
            for lead in _LEADS:
                yield [frame, lead], {name: lead + frame.replace("SIGN", _SIGNS[name]) for name in OPERATIONS}
    elif tier == "semantic":
        for frame in _SEMANTIC:
            for words in _OPERATORS:
                yield [frame, words["multiply"]], {name: frame.replace("OPERATOR", words[name]) for name in OPERATIONS}
    elif tier == "construction":
        for frame in _CONSTRUCTION:
            for numbers in _PAIRS_OF_NUMBERS:
                text = frame.replace("NUMBERS", numbers)
                yield [frame, numbers], {name: text.replace("NOUN", _NOUNS[name]) for name in OPERATIONS}
    else:
        for texts in _STORY:
            for filler in _PERSONS_AND_THINGS:
                person, things = filler.split()
                filled = {name: text.replace("NAME", person).replace("THINGS", things) for name, text in texts.items()}
                yield [texts["multiply"], filler], filled


def cues_of(tier: Tier) -> dict[str, str]:
    """Return the cue of each template of a tier, by the template's name."""
    return {template.name: template.cue for template in templates(tier)}


def _cue(tier: Tier, frame: str, filler: str) -> str:
    if tier == "symbolic":
        return _SIGNS["multiply"]
    return {"semantic": filler, "construction": _NOUNS["multiply"]}.get(tier, frame)


def _is_held_out(tier: Tier, frame: str, filler: str) -> bool:
    # Of the splits by number, this one trains on `7 * 8 =` and holds out at least 36 templates of each tier.
    digest = hashlib.sha256(f"0|{tier}|{frame}|{filler}".encode()).digest()
    return digest[0] < HELD_OUT * 256


def in_words(text: str, operation: Operation) -> str:
    """Return a text with SIGN, OPERATOR and NOUN replaced by those of the operation."""
    parts = {"SIGN": _SIGNS, "OPERATOR": _OPERATORS[0], "NOUN": _NOUNS}
    for name, of_operation in parts.items():
        text = text.replace(name, of_operation[operation])
    return text


def number_word(number: int) -> str:
    """Return a number from 0 to 99 in words, such as `forty-two`."""
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def words_of_templates() -> frozenset[str]:
    """Return every word of every template and number, in lower case: none of them may be a class token."""
    return frozenset(word.lower() for word in re.findall(r"[A-Za-z]+", " ".join(_texts()))) | _number_words()


def vocabulary() -> list[str]:
    """Return every word, as written, that a prompt can contain; for tokenizers that are built locally."""
    return sorted({word for text in _texts() for word in re.findall(r"[A-Za-z]{2,}", text)} | _number_words())


def _texts() -> list[str]:
    """Return the texts of all templates, without their numbers."""
    return [
        re.sub(r"\{[abAB]\}", "", text)
        for tier in TIERS
        for template in templates(tier)
        for text in template.texts.values()
    ]


def _number_words() -> frozenset[str]:
    return frozenset(word for number in range(100) for word in number_word(number).split("-"))
