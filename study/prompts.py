"""A prompt of any task, and its class where labels are shuffled."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from study.config import Operation, Tier


@dataclass(frozen=True)
class Prompt:
    """One question with its answer."""

    tier: Tier
    template: str
    operation: Operation
    """What it asks for: its class."""
    operands: str
    """What the split is made by and intervals are clustered by: the unordered pair, or the group of an example."""
    text: str
    answer: str
    numbers: tuple[int, ...] = ()
    """Both operands of arithmetic, in their order."""


def random_operation(prompt: Prompt, operations: Sequence[Operation], seed: int) -> Operation:
    """The class of a prompt where labels are shuffled: one for each pair of operands, whatever is done with them."""
    return random.Random(f"label {seed} {prompt.operands}").choice(list(operations))
