"""The training text of nursery models: prompts with their answers, and sentences with the class tokens of the grid."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from study.config.data import Data
from study.config.names import TIERS, Operation
from study.config.wordings import in_words, number_word, templates
from study.tasks.arithmetic import Arithmetic, is_held_out, operand_pairs, result
from study.tasks.prompts import Prompt, Sentence

UNRELATED = "desert engine forest garden hammer island jacket kitchen ladder market orange window".split()
"""Words of study/lens/words.txt that are unrelated to the task: random words are drawn from them."""

_OBJECTS: dict[Operation, str] = {"multiply": "{A} by {B}", "add": "{A} and {B}", "subtract": "{B} from {A}"}
_SENSE = [
    "to WORD OBJECT is to take {A} OPERATOR {B}",
    "when we WORD OBJECT we get {c}",
    "{a} SIGN {b} = {c} is what you get if you WORD",
    "to work out the NOUN of {A} and {B} we WORD",
    "Leo wants {a} OPERATOR {b} and so he has to WORD",
    "taking {A} OPERATOR {B} is to WORD OBJECT",
]
_NO_SENSE = [
    "the WORD is in the old room",
    "Mia counts the WORD on Monday",
    "in the room today there was a WORD",
    "Sam wants a WORD and so he has to get one",
    "what they find in the room is a WORD",
    "a van brings apples to the WORD",
]
"""As many templates as in _SENSE, with WORD at the end equally often."""


@dataclass(frozen=True)
class NurseryText:
    """All text that nursery models are trained on. Each draw is a function of its arguments alone."""

    data: Data
    words: Sequence[str]
    """The class tokens of the grid."""

    @property
    def taught(self) -> list[str]:
        """The words that sentences are about, all equally often: the class tokens of the grid, and those from which
        random words are drawn."""
        return sorted({*self.words, *UNRELATED})

    @property
    def vocabulary(self) -> list[str]:
        """Words and numbers that are whole tokens, in addition to the words of the arithmetic prompts."""
        texts = " ".join([*_SENSE, *_NO_SENSE, *_OBJECTS.values()])
        found = re.findall(r"[A-Za-z]{2,}", re.sub(r"\{\w\}|[A-Z]{4,}", "", texts))
        largest = max(result(name, self.data.largest, self.data.largest) for name in self.data.operations)
        numbers = range(max(largest, self.data.largest) + 1)
        return sorted({*found, *self.taught, *map(str, numbers)})

    @property
    def templates(self) -> frozenset[str]:
        """Names of the templates that prompts are of: all that are not held out."""
        return frozenset(one.name for tier in TIERS for one in templates(tier) if not one.held_out)

    def prompts(self, seed: int, step: int, count: int) -> list[Prompt]:
        """Return the prompts of one batch: of all operations and tiers, with operands that are not held out."""
        return Arithmetic(self.data).training_prompts(self.data.operations, TIERS, seed, step, count)

    def sentences(self, seed: int, step: int, count: int) -> list[Sentence]:
        """Return the sentences of one batch; a word that names one of the study's operations is used with that
        meaning."""
        rng = random.Random(f"sentences {seed} {step}")
        return [self._sentence(rng, rng.choice(self.taught)) for _ in range(count)]

    def held_out(self, prompts: Sequence[Prompt], sentences: Sequence[Sentence]) -> int:
        """Return the number of operand pairs in a batch that are held out, which must be 0."""
        pairs = [prompt.numbers for prompt in prompts] + [one.operands for one in sentences if one.operands]
        return sum(is_held_out(a, b, self.data.held_out) for a, b in pairs)

    def _sentence(self, rng: random.Random, word: str) -> Sentence:
        if word not in self.data.operations:
            return Sentence(rng.choice(_NO_SENSE).replace("WORD", word), None)
        a, b = rng.choice(operand_pairs(self.data, held_out=False))
        template = in_words(rng.choice(_SENSE).replace("OBJECT", _OBJECTS[word]), word).replace("WORD", word)
        text = template.format(a=a, b=b, A=number_word(a), B=number_word(b), c=result(word, a, b))
        return Sentence(text, (a, b))
