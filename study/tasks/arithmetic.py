"""The arithmetic task: operands, the held-out split, and prompts with their answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import TIERS, Operation, Tier
from study.config.wordings import Template, number_word, templates, words_of_templates
from study.tasks.prompts import Prompt, in_turn
from study.tasks.templated import in_turns, share_of, spread


def is_held_out(a: int, b: int, share: float) -> bool:
    """Whether the unordered pair is held out; a function of a hash of the pair, so that the split never changes."""
    return share_of(f"{min(a, b)},{max(a, b)}") < share


def operand_pairs(data: Data, held_out: bool) -> tuple[tuple[int, int], ...]:
    """Return the ordered operands of one side of the split, which all operations have: else they would give the
    operation away. Where the study subtracts, the larger operand is first."""
    return _operand_pairs(data.smallest, data.largest, data.held_out, "subtract" in data.operations, held_out)


@cache
def _operand_pairs(
    smallest: int, largest: int, share: float, larger_first: bool, held_out: bool
) -> tuple[tuple[int, int], ...]:
    numbers = range(smallest, largest + 1)
    return tuple(
        (a, b)
        for a in numbers
        for b in numbers
        if is_held_out(a, b, share) == held_out and (not larger_first or a >= b)
    )


def prompt_of(template: Template, operation: Operation, a: int, b: int) -> Prompt:
    """Return the prompt of a template for an operation, with its answer as digits."""
    text = template.texts[operation].format(a=a, b=b, A=number_word(a), B=number_word(b))
    operands, answer = f"{min(a, b)},{max(a, b)}", str(result(operation, a, b))
    return Prompt(template.tier, template.name, operation, operands, text, answer, (a, b))


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
        """Return the batch of one step, with operands and templates that are not held out."""
        pairs = operand_pairs(self.data, False)

        def draw(rng: random.Random, operation: Operation, tier: Tier) -> Prompt:
            return prompt_of(rng.choice(_templates(tier, False)), operation, *rng.choice(pairs))

        return in_turn(operations, tiers, seed, step, batch_size, draw)

    def fitting_prompts(
        self, operations: Sequence[Operation], per_class: int, seed: int, held_out: bool = False
    ) -> list[Prompt]:
        """Return symbolic prompts, spread evenly over the templates that are not held out. With `held_out`, their
        operands are held out."""
        among, pairs = _templates("symbolic", False), operand_pairs(self.data, held_out)
        return spread(among, pairs, operations, per_class, f"fit {seed}", _asked, together=True)

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Return prompts with held-out operands, spread evenly over the templates: held-out ones and others in turn.

        All operations get the same operands in the same templates. A larger number of prompts includes those of a
        smaller one.
        """
        prompts, pairs = [], operand_pairs(self.data, held_out=True)
        for tier in TIERS:
            among = in_turns(_templates(tier, True), _templates(tier, False))
            count, seed_of = evaluation.prompts_in(tier), f"evaluate {seed} {tier}"
            prompts += spread(among, pairs, operations, count, seed_of, _asked, together=False)
        return prompts

    def largest_held_out(self, tier: Tier) -> int:
        """Return the number of held-out operand pairs times templates."""
        return len(operand_pairs(self.data, True)) * len(templates(tier))

    def probe(self) -> list[Prompt]:
        """Return the prompts of the smallest and the largest operand, in number words."""
        operands = (self.data.largest, self.data.smallest)
        return [prompt_of(templates("semantic")[0], operation, *operands) for operation in self.data.operations]

    def counterfactual(self, prompt: Prompt, operation: Operation) -> Prompt:
        """Return the prompt of the same template and operands for another operation."""
        (template,) = (one for one in templates(prompt.tier) if one.name == prompt.template)
        return prompt_of(template, operation, *prompt.numbers)

    @property
    def words(self) -> frozenset[str]:
        return words_of_templates()

    @property
    def longest(self) -> int:
        """Approximate number of tokens of a story."""
        return 32


@cache
def _templates(tier: Tier, held_out: bool) -> tuple[Template, ...]:
    return tuple(template for template in templates(tier) if template.held_out == held_out)


def _asked(template: Template, operation: Operation, operands: tuple[int, int]) -> Prompt:
    return prompt_of(template, operation, *operands)
