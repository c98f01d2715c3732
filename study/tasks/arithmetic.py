"""The arithmetic task: operands, the held-out split, and prompts with their answers."""

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
    """Whether the unordered pair is held out; a function of a hash of the pair, so that the split never changes."""
    digest = hashlib.sha256(f"{min(a, b)},{max(a, b)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def operand_pairs(data: Data, operation: Operation, held_out: bool) -> tuple[tuple[int, int], ...]:
    """Return the ordered operands of one side of the split; a subtraction has its larger operand first."""
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
    """Return the prompt of one template, given by its index in the tier, with its answer as digits."""
    text = templates(tier, operation)[template].format(a=a, b=b, A=number_word(a), B=number_word(b))
    operands, answer = f"{min(a, b)},{max(a, b)}", str(result(operation, a, b))
    return Prompt(tier, f"{tier}-{operation}-{template}", operation, operands, text, answer, (a, b))


def result(operation: Operation, a: int, b: int) -> int:
    """Return the result of the operation on its operands."""
    return a * b if operation == "multiply" else a + b if operation == "add" else a - b


@dataclass(frozen=True)
class Arithmetic:
    """Prompts with two operands; a `study.tasks.Task`."""

    data: Data

    def training_prompts(
        self, operations: Sequence[Operation], tiers: Sequence[Tier], seed: int, step: int, batch_size: int
    ) -> list[Prompt]:
        """Return the batch of one step, with operands that are not held out."""

        def draw(rng: random.Random, operation: Operation, tier: Tier) -> Prompt:
            template = rng.randrange(len(templates(tier, operation)))
            return prompt(tier, operation, template, *rng.choice(operand_pairs(self.data, operation, False)))

        return in_turn(operations, tiers, seed, step, batch_size, draw)

    def fitting_prompts(self, operations: Sequence[Operation], per_class: int, seed: int) -> list[Prompt]:
        """Return symbolic prompts with operands that are not held out."""
        columns = []
        for operation in operations:
            pairs = _shuffled(operand_pairs(self.data, operation, False), f"fit {seed}")
            columns.append([prompt("symbolic", operation, 0, a, b) for a, b in pairs[:per_class]])
        return [item for row in zip(*columns, strict=False) for item in row]

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Return prompts with held-out operands, spread evenly over the templates.

        Multiplication and addition get the same operands in the same templates. A larger number of prompts includes
        those of a smaller one.
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
        """Return the smallest number, over the operations, of held-out operand pairs times templates."""
        return min(
            len(operand_pairs(self.data, operation, True)) * len(templates(tier, operation))
            for operation in self.data.operations
        )

    def probe(self) -> list[Prompt]:
        """Return the prompts of the smallest and the largest operand, in number words."""
        operands = (self.data.largest, self.data.smallest)
        return [prompt("semantic", operation, 0, *operands) for operation in self.data.operations]

    def other_answer(self, prompt: Prompt, operation: Operation) -> str:
        """Return the result of the operation on the same operands."""
        return str(result(operation, *prompt.numbers))

    @property
    def words(self) -> frozenset[str]:
        return words_of_templates()

    @property
    def longest(self) -> int:
        """Approximate number of tokens of a story."""
        return 32


def _shuffled(pairs: tuple[tuple[int, int], ...], seed: str) -> list[tuple[int, int]]:
    shuffled = list(pairs)
    random.Random(seed).shuffle(shuffled)
    return shuffled
