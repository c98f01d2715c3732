"""Two things that change places or keep them, in four tiers: the class is whether they end as they began.

One move tells it by its word; in *negated* it is the opposite of the word; of two it is the parity of the changes,
which no single word tells.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import permutations, product

from study.config.names import Operation, Tier
from study.config.small_tasks import SMALL_TASKS
from study.config.wordings import Template
from study.tasks.prompts import Prompt
from study.tasks.small.source import Content, Parts, made
from study.tasks.templated import share_of

HELD_OUT_LISTS = 0.4
"""Share of the lists of moves, with the things that are moved, that are held out from all training."""
_COLOURS = "red blue green black white brown pink grey gold cyan mint teal".split()
_MOVES = {"one": 1, "negated": 1, "renamed": 1, "two": 2}
"""Number of moves in a prompt of each tier."""
_LEADS = ["", "so ", "now ", "here ", "then ", "next ", "well ", "today "]
_FRAMES = [
    "PAIR : MOVES ; first",
    "PAIR , MOVES . first",
    "take PAIR : MOVES ; first",
    "from PAIR : MOVES . first",
    "PAIR then MOVES ; first",
    "with PAIR MOVES . first",
    "PAIR . MOVES , first",
    "by PAIR : MOVES , first",
]
_WORDS = ("swap", "keep")
_OTHER_WORDS = [("turn", "stay"), ("cross", "pass"), ("flip", "hold"), ("trade", "wait")]
_NOT = ["not MOVES", "never MOVES", "do no MOVES", "MOVES is wrong"]


class Swaps:
    """The small task *swaps*; a `study.tasks.small.source.Source`."""

    operations, tiers = SMALL_TASKS["swaps"]

    def templates(self, tier: Tier, held_out: bool) -> Sequence[Template]:
        return made(_grammar, tier, held_out)

    def contents(self, tier: Tier, held_out: bool) -> Sequence[Content]:
        return _lists(_MOVES[tier], held_out)

    def pretrained(self, tier: Tier) -> Sequence[Content]:
        return self.contents(tier, False)

    def prompt(self, template: Template, operation: Operation, content: Content) -> Prompt:
        """Return the prompt; one of its moves, whose place the template sets, makes it of the class."""
        first, second, moves = (str(part) for part in content)
        crossed = operation == "crossed"
        missing = str((moves.count("1") + crossed) % 2)
        place = share_place(template, len(moves) + 1)
        words = template.cue.split()
        told = " ".join(words[move == "0"] for move in moves[:place] + missing + moves[place:])
        text = template.texts[operation].replace("PAIR", f"{first} {second}").replace("MOVES", told)
        answer = second if crossed else first
        return Prompt(template.tier, template.name, operation, f"{first},{second},{moves}", text, answer)

    def facts(self) -> Sequence[str]:
        return []

    def senses(self, operation: Operation) -> Sequence[str]:
        about = "stayed alike" if operation == "straight" else "became otherwise"
        return [f"WORD means what {about}", f"what {about} is WORD", f"we call it WORD if it {about}"]


def share_place(template: Template, count: int) -> int:
    """Return which of the moves makes the class: a function of the template."""
    return int(share_of(f"place {template.name}") * count)


@cache
def _lists(count: int, held_out: bool) -> tuple[Content, ...]:
    return tuple(
        (first, second, moves)
        for first, second in permutations(_COLOURS, 2)
        for moves in map("".join, product("01", repeat=count - 1))
        if (share_of(f"{first} {second} {moves}") < HELD_OUT_LISTS) == held_out
    )


def _grammar(tier: Tier) -> Iterator[Parts]:
    classes = SMALL_TASKS["swaps"].operations
    for words, told in _moves(tier):
        for lead in _LEADS if told == "MOVES" and words == _WORDS else _LEADS[:2]:
            for frame in _FRAMES:
                text = lead + frame.replace("MOVES", told)
                yield Parts(" ".join(words), dict.fromkeys(classes, text), f"{words} {text}")


def _moves(tier: Tier) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the words that stand for a change and for none, and what is said of the moves."""
    if tier == "renamed":
        yield from ((words, "MOVES") for words in _OTHER_WORDS)
    elif tier == "negated":
        yield from ((_WORDS[::-1], told) for told in _NOT)
    else:
        yield _WORDS, "MOVES"
