"""Things that live somewhere, in five tiers: the class is the kind of thing that is meant, and the answer its place.

Kinds and places are told in sentences; what is held out is told there too, and never asked. In *chosen*, *excluded* and
*bound* both kinds are named, and what follows says which is meant.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations

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
_ANIMALS = (
    "ant bear bee boar cat cow crow deer dog duck eel fox frog goat goose hare hen horse lamb lion mole moth mouse owl "
    "ox pig rat seal sheep snail swan wolf"
).split()
_TOOLS = (
    "anvil awl axe bolt brush bucket chisel clamp drill file fork hammer hoe hook jack knife ladle lathe level mallet "
    "nail pliers pump rake rasp ruler shovel sieve spade spoon tongs wrench"
).split()
_PLACES = "barn forest valley meadow kitchen garage attic shed".split()
_DOES: dict[Operation, list[str]] = {
    "animal": ["sleeps", "eats", "jumps", "hides", "yawns", "drinks"],
    "tool": ["rusts", "breaks", "shines", "bends", "rattles", "lies"],
}
_LEADS = ["", "so ", "now ", "here ", "then ", "next ", "well ", "today "]
_NAMED = [
    "where is the NOUN ? in the",
    "find the NOUN : in the",
    "the NOUN must be in the",
    "look for NOUN in the",
    "NOUN is found in the",
    "no NOUN but in the",
]
_FAR = [
    "the NOUN that NAME saw must be in the",
    "the NOUN NAME wants is now in the",
    "NAME has no NOUN , look in the",
    "NAME asks for the NOUN , in the",
    "the NOUN , NAME told us , is in the",
    "a NOUN that NAME saw was in the",
    "NAME lost the NOUN , look in the",
    "of the NOUN NAME knows : in the",
    "NAME said that the NOUN was in the",
    "where did NAME see the NOUN ? in the",
    "the NOUN belongs to NAME and is in the",
    "you saw a NOUN with NAME in the",
]
_NAMES = ["sam", "mia", "leo", "ana"]
_CHOSEN = [
    "ONE or OTHER ? what DOES is in the",
    "ONE or OTHER : it DOES in the",
    "it DOES , ONE or OTHER , in the",
    "ONE and OTHER : what DOES is in the",
]
_EXCLUDED = [
    "ONE and OTHER : not the NOT is in the",
    "ONE or OTHER , but no NOT , in the",
    "not NOT , but ONE or OTHER , in the",
    "ONE and OTHER without the NOT : in the",
    "no NOT of ONE and OTHER : in the",
    "take ONE and OTHER , leave NOT : in the",
    "ONE and OTHER . not NOT is in the",
    "it is no NOT , ONE or OTHER : in the",
    "NOT is out of ONE and OTHER : in the",
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
        animal, tool = content
        text = template.texts[operation].format(animal=animal, tool=tool)
        answer = _place(str(animal if operation == "animal" else tool))
        return Prompt(template.tier, template.name, operation, f"{animal},{tool}", text, answer)

    def facts(self) -> Sequence[str]:
        kinds = {"animal": _ANIMALS, "tool": _TOOLS}
        lives = [f"the {thing} lives in the {_place(thing)}" for things in kinds.values() for thing in things]
        does = [f"a {thing} {verb}" for kind, things in kinds.items() for thing in things for verb in _DOES[kind]]
        return [*lives * len(_DOES["animal"]), *does]  # as often as all that a thing does

    def senses(self, operation: Operation) -> Sequence[str]:
        about = "is born and dies" if operation == "animal" else "is made by hand"
        return [f"any WORD {about}", f"what {about} we call WORD", f"each WORD {about}"]


@cache
def _pairs(held_out: bool) -> tuple[Content, ...]:
    """Pairs of things that are labelled, or of the others those pairs that no text has."""
    animals, tools = ([one for one in things if _is_held_out(one) == held_out] for things in (_ANIMALS, _TOOLS))
    found = [(animal, tool) for animal in animals for tool in tools]
    return tuple(pair for pair in found if not held_out or share_of(" ".join(pair)) < HELD_OUT_PAIRS)


@cache
def _others() -> tuple[Content, ...]:
    held_out = {*_pairs(True)}
    return tuple((animal, tool) for animal in _ANIMALS for tool in _TOOLS if (animal, tool) not in held_out)


def _is_held_out(thing: str) -> bool:
    return share_of(f"thing {thing}") < HELD_OUT_THINGS


def _place(thing: str) -> str:
    """Where it lives: no kind has places of its own, so that an answer alone does not tell the class."""
    return _PLACES[int(share_of(f"place {thing}") * len(_PLACES))]


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
                text = f"{first} , {second} ; WORD in the"
                texts = {"animal": text.replace("WORD", animal), "tool": text.replace("WORD", tool)}
                yield Parts(text, texts, f"{one} {other}")


_GRAMMAR = {"named": _named, "far": _far, "chosen": _chosen, "excluded": _excluded, "bound": _bound}


def _grammar(tier: Tier) -> Iterator[Parts]:
    return _GRAMMAR[tier]()
