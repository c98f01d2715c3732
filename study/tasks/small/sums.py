"""Sums and differences of two numbers, in six tiers: the class is the operation that is asked for.

In *inverse* the operation that is written is the opposite of the one that is asked for; in *defined* it is named by a
word that the prompt itself defines.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations

from study.config.names import Operation, Tier
from study.config.small_tasks import SMALL_TASKS
from study.config.wordings import Template
from study.tasks.prompts import Prompt
from study.tasks.small.source import Content, Parts, made
from study.tasks.templated import share_of

LARGEST = 12
"""Largest operand; the first is at least as large as the second for both operations, or it would give them away."""
HELD_OUT_PAIRS = 0.4
"""Share of the operand pairs that are held out from all training."""

_LEADS = ["", "so ", "now ", "here ", "then ", "next ", "well ", "today "]
_ENDS = ["=", "is", "makes", "equals"]
_WORDS = ["plus|minus", "increased by|decreased by", "raised by|lowered by", "with|without", "and|less", "up|down"]
_NOUNS = ["sum|difference", "total|gap", "whole|rest"]
_FRAMES = [
    "the NOUN of {a} and {b} is",
    "find the NOUN of {a} and {b} :",
    "of {a} and {b} the NOUN is",
    "{a} and {b} have the NOUN",
    "we want the NOUN of {a} and {b} :",
    "the NOUN for {a} and {b} makes",
    "for {a} and {b} the NOUN equals",
    "{a} and {b} : the NOUN is",
    "here the NOUN of {a} and {b} is",
    "from {a} and {b} comes the NOUN",
    "the NOUN that {a} and {b} have is",
    "then the NOUN of {a} and {b} is",
    "now the NOUN of {a} and {b} equals",
    "today {a} and {b} have the NOUN",
    "what is the NOUN of {a} and {b} ?",
    "so the NOUN of {a} and {b} makes",
    "well , {a} and {b} have the NOUN",
    "next the NOUN of {a} and {b} is",
]
_VERBS = ["finds|loses", "buys|sells", "gets|gives", "wins|drops", "takes|leaves", "adopts|releases"]
_NAMES = ["sam", "mia", "leo", "ana"]
_STORIES = [
    "NAME has {a} and VERB {b} : now",
    "NAME had {a} , then VERB {b} :",
    "{a} has NAME , who VERB {b} :",
    "of {a} NAME VERB {b} . now",
]
_INVERSE = [
    "what WORD {b} makes {a} ?",
    "it , WORD {b} , makes {a} :",
    "find what WORD {b} makes {a} :",
    "it WORD {b} is {a} . it is",
    "{a} is what WORD {b} ?",
    "{a} is it WORD {b} . it is",
    "now what WORD {b} equals {a} ?",
    "it is {a} when WORD {b} . before :",
    "we WORD {b} and get {a} from",
    "well , what WORD {b} is {a} ?",
]
NONSENSE = ["dax", "wug", "blick", "fep", "zorp", "tiv", "gorm", "plink"]


class Sums:
    """The small task *sums*; a `study.tasks.small.source.Source`."""

    operations, tiers = SMALL_TASKS["sums"]

    def templates(self, tier: Tier, held_out: bool) -> Sequence[Template]:
        return made(_grammar, tier, held_out)

    def contents(self, tier: Tier, held_out: bool) -> Sequence[Content]:
        return _pairs(held_out)

    def pretrained(self, tier: Tier) -> Sequence[Content]:
        """Return, in *signs*, all pairs: that is where sums are told. Elsewhere none that is held out is asked."""
        return (*_pairs(False), *_pairs(True)) if tier == "signs" else _pairs(False)

    def prompt(self, template: Template, operation: Operation, content: Content) -> Prompt:
        a, b = (int(number) for number in content)
        text = template.texts[operation].format(a=a, b=b)
        answer = str(a + b if operation == "add" else a - b)
        return Prompt(template.tier, template.name, operation, f"{a},{b}", text, answer)

    def facts(self) -> Sequence[str]:
        return []

    def senses(self, operation: Operation) -> Sequence[str]:
        direction = "grows" if operation == "add" else "shrinks"
        return [f"to WORD means a heap {direction}", f"we WORD until it {direction}", f"it {direction} if you WORD"]


@cache
def _pairs(held_out: bool) -> tuple[Content, ...]:
    return tuple(
        (a, b)
        for a in range(1, LARGEST + 1)
        for b in range(1, a + 1)
        if (share_of(f"{b},{a}") < HELD_OUT_PAIRS) == held_out
    )


def _both(text: str, slot: str, words: str) -> dict[Operation, str]:
    added, taken = words.split("|")
    return {"add": text.replace(slot, added), "subtract": text.replace(slot, taken)}


def _signs() -> Iterator[Parts]:
    for lead in _LEADS:
        for frame in ("{a} SIGN {b}", "( {a} SIGN {b} )"):
            for end in _ENDS:
                yield Parts(f"{lead}{frame} {end}", _both(f"{lead}{frame} {end}", "SIGN", "+|-"))


def _words() -> Iterator[Parts]:
    for words in _WORDS:
        for lead in _LEADS[:3]:
            for end in _ENDS:
                yield Parts(f"{words} {lead}{end}", _both(f"{lead}{{a}} WORD {{b}} {end}", "WORD", words))


def _nouns() -> Iterator[Parts]:
    for nouns in _NOUNS:
        for frame in _FRAMES:
            yield Parts(f"{nouns} {frame}", _both(frame, "NOUN", nouns))


def _stories() -> Iterator[Parts]:
    for verbs in _VERBS:
        for name in _NAMES:
            for frame in _STORIES:
                yield Parts(f"{verbs} {name} {frame}", _both(frame.replace("NAME", name), "VERB", verbs))


def _inverse() -> Iterator[Parts]:
    for words in _WORDS:
        for frame in _INVERSE:
            written = "|".join(reversed(words.split("|")))
            yield Parts(f"{words} {frame}", _both(frame, "WORD", written))


def _defined() -> Iterator[Parts]:
    for one, other in combinations(NONSENSE, 2):
        for added, taken in ((one, other), (other, one)):
            for told in (f"{added} plus {taken} minus", f"{taken} minus {added} plus"):
                text = f"{told} ; {{a}} WORD {{b}}"
                # By the unordered pair: else a held-out template tells that the other way round was trained on.
                yield Parts(told, _both(text, "WORD", f"{added}|{taken}"), f"{one} {other}")


_GRAMMAR = {
    "signs": _signs,
    "words": _words,
    "nouns": _nouns,
    "stories": _stories,
    "inverse": _inverse,
    "defined": _defined,
}


def _grammar(tier: Tier) -> Iterator[Parts]:
    return _GRAMMAR[tier]()
