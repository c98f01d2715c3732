"""The prompts of any task, and their classes where labels are shuffled."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from study.config.names import Operation, Tier


@dataclass(frozen=True)
class Prompt:
    """One prompt with its answer."""

    tier: Tier
    template: str
    """Name of its template, which is the same for all operations."""
    operation: Operation
    """The operation that it asks for, or its class."""
    operands: str
    """The unordered operand pair, or the group in a custom task, by which the split is made and intervals are
    clustered."""
    text: str
    answer: str
    """Empty where the task has labels alone."""
    numbers: tuple[int, ...] = ()
    """The operands of arithmetic, in their order; empty in a custom task."""
    label: Operation | None = None
    """The class that it is read for, where that is not its operation's."""
    seen: str = ""
    """The trainings that saw its template, such as `stage1+stage2`, or `nobody`; empty where that is not known."""

    @property
    def named(self) -> Operation:
        """The class whose token is the right one."""
        return self.label or self.operation


@dataclass(frozen=True)
class Sentence:
    """One sentence of the text that small models are trained on from random weights."""

    text: str
    operands: tuple[int, int] | None = None
    """The operands of arithmetic in it, if there are any."""


def in_turn(
    operations: Sequence[Operation],
    tiers: Sequence[Tier],
    seed: int,
    step: int,
    batch_size: int,
    draw: Callable[[random.Random, Operation, Tier], Prompt],
) -> list[Prompt]:
    """Return the batch of one step: operations in turn, each prompt of any of the tiers.

    It is a function of its arguments alone.
    """
    rng = random.Random(f"train {seed} {step}")
    start = rng.randrange(len(operations))
    return [draw(rng, operations[(start + i) % len(operations)], rng.choice(list(tiers))) for i in range(batch_size)]


def following(operations: Iterable[Operation]) -> dict[Operation, Operation]:
    """Return the next operation of each, of the last one the first: whose state an exchange brings in."""
    names = list(operations)
    return dict(zip(names, [*names[1:], *names[:1]], strict=True))


def shuffled_label(prompt: Prompt, operations: Sequence[Operation], seed: int) -> Operation:
    """Return the class of a prompt where labels are shuffled: in every template, the operations have one another's
    labels in an order that is drawn at random. What was drawn can be remembered by template and operation alone, so
    that it can be asked for with other operands (Hewitt & Liang, 2019)."""
    drawn = list(operations)
    random.Random(f"labels {seed} {prompt.template}").shuffle(drawn)
    return drawn[list(operations).index(prompt.operation)]
