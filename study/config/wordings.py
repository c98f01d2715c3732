"""The wordings of arithmetic prompts: templates, and numbers in words.

There are four tiers of templates; in a tier, the i-th template of one class matches the i-th of every other.

`{a}` and `{b}` are digits, `{A}` and `{B}` number words. No template has a trailing space or a class token.
"""

import re

from study.config.names import OPERATIONS, TIERS, Operation, Tier

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

_SIGNS: dict[Operation, str] = {"multiply": "*", "add": "+", "subtract": "-"}
_OPERATORS: dict[Operation, str] = {"multiply": "times", "add": "plus", "subtract": "minus"}
_NOUNS: dict[Operation, str] = {"multiply": "product", "add": "sum", "subtract": "difference"}

_SYMBOLIC = "{a} SIGN {b} ="

_SEMANTIC = ["{A} OPERATOR {B} =", "{a} OPERATOR {b} =", "{A} OPERATOR {B} equals", "{a} OPERATOR {b} equals"]

_CONSTRUCTION = [
    "the NOUN of {A} and {B} is",
    "The NOUN of {a} and {b} equals",
    "What is the NOUN of {a} and {b}? It is",
    "Taking the NOUN of {A} and {B} gives",
    "The NOUN you get from {a} and {b} is",
    "Question: NOUN of {a} and {b}. Answer:",
    "If we work out the NOUN of {A} and {B}, we find",
    "The NOUN of the two numbers {a} and {b} comes to",
]

_STORY: dict[Operation, list[str]] = {
    "multiply": [
        "Sam has {a} bags with {b} apples in each. In all he has",
        "There are {a} rows of {b} chairs in the room. The number of chairs is",
        "Each of the {a} boxes holds {b} pens. Altogether there are",
        "Mia read {a} pages a day for {b} days. The pages she has read are",
        "A ticket costs {a} coins and Leo wants {b} tickets. Leo pays",
        "The {a} teams have {b} players each. The number of players is",
        "Every one of {a} hens laid {b} eggs. The farmer collects",
        "A bus makes {a} trips with {b} people on each. The people carried are",
    ],
    "add": [
        "Sam has {a} red apples and {b} green apples. In all he has",
        "There are {a} old and {b} new chairs in the room. The number of chairs is",
        "One box holds {a} pens and one holds {b}. Altogether there are",
        "Mia read {a} pages on Monday and {b} on Friday. The pages she has read are",
        "A ticket costs {a} coins and a drink costs {b} coins. Leo pays",
        "One team has {a} players and one has {b}. The number of players is",
        "The hens laid {a} eggs today and {b} yesterday. The farmer collects",
        "A bus carries {a} people and a van carries {b}. The people carried are",
    ],
    "subtract": [
        "Sam has {a} apples and gives {b} of them away. In all he has",
        "There were {a} chairs and {b} left the room. The number of chairs is",
        "One box held {a} pens and {b} were used. Altogether there are",
        "Mia had {a} pages to read and {b} are done. The pages she has left are",
        "A ticket costs {a} coins and is {b} coins cheaper today. Leo pays",
        "One team had {a} players and lost {b}. The number of players is",
        "The hens laid {a} eggs today and {b} broke. The farmer collects",
        "A bus carried {a} people and {b} got off. The people carried are",
    ],
}


NEUTRAL = (
    "Most mornings the baker opened the shop before the street was awake. He lit the oven, set the dough near the "
    "window and read an old paper while it rose."
)
"""A text that is unrelated to the task, on which models are compared."""


def in_words(template: str, operation: Operation) -> str:
    """Return a template with SIGN, OPERATOR and NOUN replaced by those of the operation."""
    parts = {"SIGN": _SIGNS, "OPERATOR": _OPERATORS, "NOUN": _NOUNS}
    for name, of_operation in parts.items():
        template = template.replace(name, of_operation[operation])
    return template


def templates(tier: Tier, operation: Operation) -> list[str]:
    """Return the templates of a class in a tier; the i-th of one class matches the i-th of another."""
    if tier == "symbolic":
        return [in_words(_SYMBOLIC, operation)]
    if tier == "semantic":
        return [in_words(template, operation) for template in _SEMANTIC]
    if tier == "construction":
        return [in_words(template, operation) for template in _CONSTRUCTION]
    return _STORY[operation]


def number_word(number: int) -> str:
    """Return a number from 0 to 99 in words, such as `forty-two`."""
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def words_of_templates() -> frozenset[str]:
    """Return every word of every template and number, in lower case: none of them may be a class token."""
    texts = [text for tier in TIERS for operation in OPERATIONS for text in templates(tier, operation)]
    words = re.findall(r"[a-z]+", " ".join(texts).lower())
    return frozenset(words) | {word for number in range(100) for word in number_word(number).split("-")}


def vocabulary() -> list[str]:
    """Return every word, as written, that a prompt can contain; for tokenizers that are built locally."""
    texts = [text for tier in TIERS for operation in OPERATIONS for text in templates(tier, operation)]
    words = set(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{[abAB]\}", "", " ".join(texts))))
    return sorted(words | {word for number in range(100) for word in number_word(number).split("-")})
