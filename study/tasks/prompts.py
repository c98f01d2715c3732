"""A prompt of any task, and its class where labels are shuffled."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.config.names import Operation, Tier


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


def in_turn(
    operations: Sequence[Operation],
    tiers: Sequence[Tier],
    seed: int,
    step: int,
    batch_size: int,
    draw: Callable[[random.Random, Operation, Tier], Prompt],
) -> list[Prompt]:
    """The batch of one step: operations in turn, each prompt in any of the tiers; a function of seed and step alone."""
    rng = random.Random(f"train {seed} {step}")
    start = rng.randrange(len(operations))
    return [draw(rng, operations[(start + i) % len(operations)], rng.choice(list(tiers))) for i in range(batch_size)]


def random_operation(prompt: Prompt, operations: Sequence[Operation], seed: int) -> Operation:
    """The class of a prompt where labels are shuffled: one for each pair of operands, whatever is done with them."""
    return random.Random(f"label {seed} {prompt.operands}").choice(list(operations))
