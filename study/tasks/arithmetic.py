"""The task of arithmetic: operands, the held-out split, and prompts with their answers."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from study.config.names import TIERS, Operation, Tier
from study.config.study import Data, Evaluation
from study.config.wordings import number_word, templates, words_of_templates
from study.tasks.prompts import Prompt, in_turn


def is_held_out(a: int, b: int, share: float) -> bool:
    """Whether the unordered pair is never trained on; by a hash of the pair alone, so the split never moves."""
    digest = hashlib.sha256(f"{min(a, b)},{max(a, b)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def operand_pairs(data: Data, operation: Operation, held_out: bool) -> tuple[tuple[int, int], ...]:
    """Ordered operands of one side of the split; a difference has its larger operand first."""
    return _operand_pairs(data.smallest, data.largest, data.held_out, operation, held_out)


@cache
def _operand_pairs(
    smallest: int, largest: int, share: float, operation: Operation, held_out: bool
) -> tuple[tuple[int, int], ...]:
    numbers = range(smallest, largest + 1)
    return tuple(
        (a, b)
        for a in numbers
        for b in numbers
        if is_held_out(a, b, share) == held_out and (operation != "subtract" or a >= b)
    )


def prompt(tier: Tier, operation: Operation, template: int, a: int, b: int) -> Prompt:
    """The prompt of one template, by its place in the tier, with its answer as digits."""
    text = templates(tier, operation)[template].format(a=a, b=b, A=number_word(a), B=number_word(b))
    operands, answer = f"{min(a, b)},{max(a, b)}", str(result(operation, a, b))
    return Prompt(tier, f"{tier}-{operation}-{template}", operation, operands, text, answer, (a, b))


def result(operation: Operation, a: int, b: int) -> int:
    """Of the operation on its operands."""
    return a * b if operation == "multiply" else a + b if operation == "add" else a - b


@dataclass(frozen=True)
class Arithmetic:
    """Prompts of two operands; a `study.tasks.Task`."""

    data: Data

    def training_prompts(
        self, operations: Sequence[Operation], tiers: Sequence[Tier], seed: int, step: int, batch_size: int
    ) -> list[Prompt]:
        """Trained operands only."""

        def draw(rng: random.Random, operation: Operation, tier: Tier) -> Prompt:
            template = rng.randrange(len(templates(tier, operation)))
            return prompt(tier, operation, template, *rng.choice(operand_pairs(self.data, operation, False)))

        return in_turn(operations, tiers, seed, step, batch_size, draw)

    def fitting_prompts(self, operations: Sequence[Operation], per_class: int, seed: int) -> list[Prompt]:
        """Symbolic prompts on trained operands."""
        columns = []
        for operation in operations:
            pairs = _shuffled(operand_pairs(self.data, operation, False), f"fit {seed}")
            columns.append([prompt("symbolic", operation, 0, a, b) for a, b in pairs[:per_class]])
        return [item for row in zip(*columns, strict=False) for item in row]

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Held-out operands, spread evenly over the templates.

        Multiplication and addition get the same operands in the same templates. Asking for more adds prompts and
        keeps those that were there.
        """
        prompts = []
        for tier in TIERS:
            for operation in operations:
                pairs = operand_pairs(self.data, operation, True)
                count = len(templates(tier, operation))
                draws = [_shuffled(pairs, f"evaluate {seed} {tier} {template}") for template in range(count)]
                for i in range(evaluation.prompts_in(tier)):
                    a, b = draws[i % count][i // count]
                    prompts.append(prompt(tier, operation, i % count, a, b))
        return prompts

    def largest_held_out(self, tier: Tier) -> int:
        """Held-out operand pairs in every template."""
        return min(
            len(operand_pairs(self.data, operation, True)) * len(templates(tier, operation))
            for operation in self.data.operations
        )

    def probe(self) -> list[Prompt]:
        """Of the smallest and the largest operand, in words."""
        operands = (self.data.largest, self.data.smallest)
        return [prompt("semantic", operation, 0, *operands) for operation in self.data.operations]

    def other_answer(self, prompt: Prompt, operation: Operation) -> str:
        """What the operation gives on the same operands."""
        return str(result(operation, *prompt.numbers))

    @property
    def words(self) -> frozenset[str]:
        return words_of_templates()

    @property
    def longest(self) -> int:
        """Of a story in number words."""
        return 32


def _shuffled(pairs: tuple[tuple[int, int], ...], seed: str) -> list[tuple[int, int]]:
    shuffled = list(pairs)
    random.Random(seed).shuffle(shuffled)
    return shuffled
