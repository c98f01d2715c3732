"""Things that are somewhere at some time, in five tiers: the class is the kind of thing that is meant.

The answer is a place that follows from the kind and from the time, which is the last word: it is not known before, so
that the kind has to be known where the prompt ends. What a thing is follows from sentences on what it does and from
prompts with other things. In *chosen*, *excluded* and *bound* both kinds are named, and what follows says which is
meant.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, product

from study.config.names import Operation, Tier
from study.config.small_tasks import SMALL_TASKS
from study.config.wordings import Template
from study.tasks.prompts import Prompt
from study.tasks.small.source import Content, Parts, made
from study.tasks.small.sums import NONSENSE
from study.tasks.templated import share_of

HELD_OUT_THINGS = 0.4
"""Share of the things of each kind that no class label is ever given for."""
HELD_OUT_PAIRS = 0.4
"""Share of the pairs of such things that are in no prompt that is trained on."""
_ANIMALS = "ant bear bee boar cat cow crow deer dog duck eel fox frog goat hen horse lion owl pig wolf".split()
_TOOLS = (
    "anvil awl axe bolt brush chisel clamp drill fork hammer hoe hook knife lathe nail pump rake sieve shovel spoon"
).split()
_TIMES = "dawn noon dusk night".split()
_PLACES = "barn forest valley meadow garden orchard".split()
_DOES: dict[Operation, list[str]] = {
    "animal": ["sleeps", "eats", "jumps", "hides", "yawns", "drinks"],
    "tool": ["rusts", "breaks", "shines", "bends", "rattles", "lies"],
}
_LEADS = ["", "so ", "now ", "here ", "then ", "next ", "well ", "today "]
_NAMED = [
    "where is the NOUN at TIME",
    "find the NOUN at TIME",
    "the NOUN must be , at TIME",
    "look for NOUN at TIME",
    "NOUN is found at TIME",
    "see the NOUN : it is TIME",
]
_FAR = [
    "the NOUN that NAME saw is at TIME",
    "the NOUN NAME wants is , at TIME",
    "NAME has no NOUN , look at TIME",
    "NAME asks for the NOUN at TIME",
    "the NOUN , NAME told us , at TIME",
    "a NOUN that NAME saw was at TIME",
    "NAME lost the NOUN : look at TIME",
    "of the NOUN NAME knows at TIME",
    "NAME said the NOUN was at TIME",
    "where did NAME see the NOUN at TIME",
    "the NOUN is of NAME , at TIME",
    "you saw a NOUN with NAME at TIME",
]
_NAMES = ["sam", "mia", "leo", "ana"]
_CHOSEN = [
    "ONE or OTHER ? what DOES at TIME",
    "ONE or OTHER : it DOES at TIME",
    "it DOES , ONE or OTHER at TIME",
    "ONE and OTHER : what DOES at TIME",
    "what DOES of ONE and OTHER at TIME",
]
_EXCLUDED = [
    "ONE and OTHER : not the NOT at TIME",
    "ONE or OTHER , but no NOT at TIME",
    "not NOT , but ONE or OTHER at TIME",
    "ONE and OTHER without the NOT at TIME",
    "no NOT of ONE and OTHER at TIME",
    "take ONE and OTHER , leave NOT at TIME",
    "ONE and OTHER . not NOT at TIME",
    "no NOT , ONE or OTHER at TIME",
    "NOT is out of ONE and OTHER at TIME",
]


class Things:
    """The small task *things*; a `study.tasks.small.source.Source`."""

    operations, tiers = SMALL_TASKS["things"]

    def templates(self, tier: Tier, held_out: bool) -> Sequence[Template]:
        return made(_grammar, tier, held_out)

    def contents(self, tier: Tier, held_out: bool) -> Sequence[Content]:
        return _pairs(held_out)

    def pretrained(self, tier: Tier) -> Sequence[Content]:
        """Return all pairs but those that are held out: of each thing some are told, or answers would be known of half
        of the things and nothing of the others."""
        return _others()

    def prompt(self, template: Template, operation: Operation, content: Content) -> Prompt:
        animal, tool, time = (str(part) for part in content)
        text = template.texts[operation].format(animal=animal, tool=tool).replace("TIME", time)
        return Prompt(template.tier, template.name, operation, f"{animal},{tool},{time}", text, _place(operation, time))

    def facts(self) -> Sequence[str]:
        kinds = {"animal": _ANIMALS, "tool": _TOOLS}
        return [f"a {thing} {verb}" for kind, things in kinds.items() for thing in things for verb in _DOES[kind]]

    def senses(self, operation: Operation) -> Sequence[str]:
        about = "is born and dies" if operation == "animal" else "is made by hand"
        return [f"any WORD {about}", f"what {about} we call WORD", f"each WORD {about}"]


@cache
def _pairs(held_out: bool) -> tuple[Content, ...]:
    """Pairs of things that are labelled, or of the others those pairs that no text has, each at all times."""
    animals, tools = ([one for one in things if _is_held_out(one) == held_out] for things in (_ANIMALS, _TOOLS))
    found = [(animal, tool) for animal in animals for tool in tools]
    pairs = [pair for pair in found if not held_out or share_of(" ".join(pair)) < HELD_OUT_PAIRS]
    return tuple((*pair, time) for pair in pairs for time in _TIMES)


@cache
def _others() -> tuple[Content, ...]:
    held_out = {*_pairs(True)}
    return tuple(one for one in product(_ANIMALS, _TOOLS, _TIMES) if one not in held_out)


def _is_held_out(thing: str) -> bool:
    return share_of(f"thing {thing}") < HELD_OUT_THINGS


def _place(operation: Operation, time: str) -> str:
    """Return where things of a kind are at a time: a place for each time, those of tools two further on. Two places are
    of both kinds; if all were, no place and no time would tell anything alone, and models would not learn it."""
    return _PLACES[_TIMES.index(time) + 2 * (operation == "tool")]


def _of_each(text: str, slot: str = "NOUN") -> dict[Operation, str]:
    return {"animal": text.replace(slot, "{animal}"), "tool": text.replace(slot, "{tool}")}


def _ordered(frames: Sequence[str]) -> Iterator[str]:
    """Yield the frames with both kinds in both orders."""
    for frame in frames:
        for one, other in (("{animal}", "{tool}"), ("{tool}", "{animal}")):
            yield frame.replace("ONE", one).replace("OTHER", other)


def _named() -> Iterator[Parts]:
    for lead in _LEADS:
        for frame in _NAMED:
            yield Parts(lead + frame, _of_each(lead + frame))


def _far() -> Iterator[Parts]:
    for name in _NAMES:
        for frame in _FAR:
            text = frame.replace("NAME", name)
            yield Parts(text, _of_each(text))


def _chosen() -> Iterator[Parts]:
    for text in _ordered(_CHOSEN):
        for does in zip(*_DOES.values(), strict=True):
            yield Parts(f"{text} {does}", dict(zip(_DOES, (text.replace("DOES", verb) for verb in does), strict=True)))


def _excluded() -> Iterator[Parts]:
    for lead in ("", "now ", "so ", "then "):
        for text in _ordered(_EXCLUDED):
            told = lead + text
            yield Parts(told, {"animal": told.replace("NOT", "{tool}"), "tool": told.replace("NOT", "{animal}")})


def _bound() -> Iterator[Parts]:
    for one, other in combinations(NONSENSE, 2):
        for animal, tool in ((one, other), (other, one)):
            told = [f"{animal} {{animal}}", f"{tool} {{tool}}"]
            for first, second in (told, told[::-1]):
                text = f"{first} {second} ; WORD at TIME"
                texts = {"animal": text.replace("WORD", animal), "tool": text.replace("WORD", tool)}
                yield Parts(text, texts, f"{one} {other}")


_GRAMMAR = {"named": _named, "far": _far, "chosen": _chosen, "excluded": _excluded, "bound": _bound}


def _grammar(tier: Tier) -> Iterator[Parts]:
    return _GRAMMAR[tier]()
