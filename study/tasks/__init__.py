"""Where prompts come from: the one place that knows of more than one task."""

from collections.abc import Sequence
from typing import Protocol

from study.config.examples import Examples
from study.config.names import Operation, Tier
from study.config.study import Data, Evaluation
from study.tasks.arithmetic import Arithmetic
from study.tasks.from_file import FileTask
from study.tasks.prompts import Prompt

FITTING_PROMPTS = 128
"""Of each operation, those that probes are fitted on."""
GRADIENT_PROMPTS = 32
"""Of these, of all operations, those that gradients are taken on."""


class Task(Protocol):
    """What a study asks of its task. Each draw is a function of its arguments alone."""

    def training_prompts(
        self, operations: Sequence[Operation], tiers: Sequence[Tier], seed: int, step: int, batch_size: int
    ) -> list[Prompt]:
        """The batch of one step: operations in turn, never a held-out prompt."""
        ...

    def fitting_prompts(self, operations: Sequence[Operation], per_class: int, seed: int) -> list[Prompt]:
        """Distinct training prompts of one wording, `per_class` of each operation or all there are, in turn."""
        ...

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Distinct held-out prompts, tier by tier, as many of each operation as `evaluation` says."""
        ...

    def largest_held_out(self, tier: Tier) -> int:
        """The most held-out prompts that every operation has in a tier."""
        ...

    def probe(self) -> list[Prompt]:
        """One prompt of each operation, that gates are checked on."""
        ...

    def other_answer(self, prompt: Prompt, operation: Operation) -> str:
        """The answer that a prompt would have if it asked for another operation."""
        ...

    @property
    def words(self) -> frozenset[str]:
        """Every word of every prompt, in lower case: none of them may be a class token."""
        ...

    @property
    def longest(self) -> int:
        """Tokens of a prompt with its answer, at most and roughly."""
        ...


def task_of(data: Data | Examples) -> Task:
    """The task that a study's `data` describes."""
    return FileTask(data) if isinstance(data, Examples) else Arithmetic(data)
