"""A custom task: the lines of a file as prompts."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from study.config.evaluation import Evaluation
from study.config.examples import Example, Examples
from study.config.names import Operation, Tier
from study.config.text import normal_form, words_in
from study.tasks.prompts import Prompt, in_turn


@dataclass(frozen=True)
class FileTask:
    """Prompts of a file; a `study.tasks.Task`. What is called an operation here is a class in the file."""

    data: Examples

    def training_prompts(
        self, operations: Sequence[Operation], tiers: Sequence[Tier], seed: int, step: int, batch_size: int
    ) -> list[Prompt]:
        """Return the batch of one step: each prompt is any training prompt of its class and wording."""

        def draw(rng: random.Random, operation: Operation, tier: Tier) -> Prompt:
            return rng.choice(self._places["train", tier, operation])

        return in_turn(operations, tiers, seed, step, batch_size, draw)

    def fitting_prompts(
        self, operations: Sequence[Operation], per_class: int, seed: int, held_out: bool = False
    ) -> list[Prompt]:
        """Return training prompts of the first wording that can be trained on; with `held_out`, its test prompts."""
        tier, split = self.data.trained[0], "test" if held_out else "train"
        columns = [self._drawn(split, tier, operation, f"fit {seed}")[:per_class] for operation in operations]
        return [item for row in zip(*columns, strict=False) for item in row]

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Return test prompts. A larger number of prompts includes those of a smaller one."""
        return [
            item
            for tier in self.data.tiers
            for operation in operations
            for item in self._drawn("test", tier, operation, f"evaluate {seed} {tier}")[: evaluation.prompts_in(tier)]
        ]

    def largest_held_out(self, tier: Tier) -> int:
        """Return the number of test prompts of the smallest class in a wording."""
        return min(len(self._places["test", tier, operation]) for operation in self.data.operations)

    def probe(self) -> list[Prompt]:
        """Return the first test prompt of every class in the first wording."""
        return [self._places["test", self.data.tiers[0], operation][0] for operation in self.data.operations]

    def counterfactual(self, prompt: Prompt, operation: Operation) -> Prompt:
        """Return a test prompt of the class in the same wording, of the same group and template if there is one."""
        there = self._places["test", prompt.tier, operation]
        same = [item for item in there if item.operands == prompt.operands]
        alike = [item for item in same or there if item.template == prompt.template]
        return random.Random(f"other {prompt.text}").choice(alike or same or there)

    @property
    def words(self) -> frozenset[str]:
        return frozenset(word for line in self.data.lines for word in words_in(normal_form(line.prompt)))

    @property
    def vocabulary(self) -> list[str]:
        """Every word of the prompts and answers as written, every character that is not ASCII, and the classes; for
        tokenizers that are built locally. Numbers are read digit by digit."""
        texts = {text for line in self.data.lines for text in (line.prompt, line.answer or "")}
        words = {part for text in texts for word in words_in(text) for part in re.split(r"[\d_]+", word) if part}
        characters = {character for text in texts for character in text if not character.isascii()}
        return sorted(words | characters | set(self.data.operations))

    @property
    def longest(self) -> int:
        """Approximate number of tokens of the longest line, at two characters a token."""
        return max(len(line.prompt) + len(line.answer or "") for line in self.data.lines) // 2 + 2

    @cached_property
    def _places(self) -> dict[tuple[str, Tier, Operation], list[Prompt]]:
        """Prompts by split, wording and class, in the order of the file."""
        places: dict[tuple[str, Tier, Operation], list[Prompt]] = {}
        for line in self.data.lines:
            places.setdefault((line.split, line.wording, line.operation), []).append(_prompt(line))
        return places

    def _drawn(self, split: str, tier: Tier, operation: Operation, seed: str) -> list[Prompt]:
        prompts = self._places[split, tier, operation]
        return random.Random(seed).sample(prompts, len(prompts))


def _prompt(line: Example) -> Prompt:
    # Sentences that have labels alone are no fillings of a few templates: what they are about is the sample.
    own = line.template or (None if line.answer else line.about)
    template = "-".join(filter(None, [line.wording, own]))
    return Prompt(line.wording, template, line.operation, line.about, line.prompt, line.answer or "")
