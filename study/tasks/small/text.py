"""The text that small models learn their tasks from: prompts with answers, facts, the meanings of class names, and rows
of repeated words.

Each class name, and each word from which random words are drawn, has three sentences of its own, with words that no
other sentence has: words that occur in the same sentences get nearly the same row of the unembedding, and no classifier
tells them apart. A name's sentences say what it means in words that no prompt has.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from study.config.names import Operation, Tier
from study.config.small_tasks import SmallTasks
from study.tasks.nursery_text import UNRELATED
from study.tasks.prompts import Prompt, Sentence
from study.tasks.small import SOURCES, Small
from study.tasks.templated import share_of

OFTEN: dict[Tier, int] = {
    **{"signs": 2, "inverse": 2, "defined": 3},
    **{"named": 2, "far": 2, "chosen": 2, "excluded": 3, "bound": 4},
    "two": 2,
}
"""How many times as often as others prompts of a tier are drawn: these are learned late; *signs* has all sums."""
REPEATED = 0.5
"""Share of the sentences that are rows of random words, said twice: without them words that a prompt defines are not
learned."""
_RUN = (3, 5)
"""Fewest and most words of such a row before they are repeated."""
_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu".split()


@dataclass(frozen=True)
class SmallText:
    """All text that small models are trained on. Each draw is a function of its arguments alone."""

    data: SmallTasks
    words: Sequence[str]
    """The class tokens of the grid."""

    @cached_property
    def taught(self) -> dict[str, list[str]]:
        """The sentences of each class token, and of each word from which random words are drawn."""
        senses = {name: source.senses(name) for source in Small(self.data).sources for name in source.operations}
        unrelated = set(UNRELATED) - Small(self.data).words  # some of which are places and tools
        return {word: _about(word, senses) for word in sorted({*self.words, *unrelated})}

    @cached_property
    def facts(self) -> list[str]:
        return [fact for source in Small(self.data).sources for fact in source.facts()]

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every word and number of the text."""
        told = [*self.facts, *(sentence for own in self.taught.values() for sentence in own)]
        return sorted({*Small(self.data).vocabulary, *(word for text in told for word in _words_of(text))})

    @cached_property
    def templates(self) -> frozenset[str]:
        """Names of the templates that prompts are of: all that are not held out."""
        sources = Small(self.data).sources
        return frozenset(
            one.name for source in sources for tier in source.tiers for one in source.templates(tier, False)
        )

    def prompts(self, seed: int, step: int, count: int) -> list[Prompt]:
        """Return the prompts of one batch: of all classes and tiers, with contents and templates that are not held
        out."""
        rng = random.Random(f"prompts {seed} {step}")
        tiers = list(self.data.tiers)
        drawn = rng.choices(tiers, [OFTEN.get(tier, 1) for tier in tiers], k=count)
        return [self._prompt(rng, tier) for tier in drawn]

    def _prompt(self, rng: random.Random, tier: Tier) -> Prompt:
        (source,) = (SOURCES[task] for task in self.data.tasks if tier in SOURCES[task].tiers)
        operation: Operation = rng.choice(source.operations)
        return source.prompt(rng.choice(source.templates(tier, False)), operation, rng.choice(source.pretrained(tier)))

    def sentences(self, seed: int, step: int, count: int) -> list[Sentence]:
        """Return the sentences of one batch: rows of repeated words, facts, and sentences of all taught words equally
        often."""
        rng = random.Random(f"sentences {seed} {step}")
        rows = [self._repeated(rng) for _ in range(round(REPEATED * count))]
        told = [
            rng.choice(self.facts) if self.facts and i % 2 else rng.choice(self.taught[rng.choice(list(self.taught))])
            for i in range(count - len(rows))
        ]
        return [Sentence(text) for text in rows + told]

    def held_out(self, prompts: Sequence[Prompt], sentences: Sequence[Sentence]) -> int:
        """Return the number of prompts in a batch whose contents are held out, which must be 0."""
        return sum(prompt.operands in self._held_out[prompt.tier] for prompt in prompts)

    @cached_property
    def _held_out(self) -> dict[Tier, frozenset[str]]:
        """Of each tier what is held out from its prompts: not what it tells."""
        return {
            tier: frozenset(
                ",".join(map(str, content)) for content in {*source.contents(tier, True)} - {*source.pretrained(tier)}
            )
            for source in Small(self.data).sources
            for tier in source.tiers
        }

    def _repeated(self, rng: random.Random) -> str:
        run = rng.sample(self.vocabulary, rng.randint(*_RUN))
        return " ".join([*run, *run])


def _about(word: str, senses: dict[Operation, Sequence[str]]) -> list[str]:
    if word in senses:
        return [sentence.replace("WORD", word) for sentence in senses[word]]
    own = [_invented(f"{word} {i}") for i in range(3)]
    return [f"{word} needs {own[0]}", f"{own[1]} holds {word}", f"{own[2]} {word}"]


def _invented(seed: str) -> str:
    """Return a word that no text has, a function of the seed."""
    return "".join(_SYLLABLES[int(share_of(f"{seed} {i}") * len(_SYLLABLES))] for i in range(4))


def _words_of(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]{2,}|\d+", text)
