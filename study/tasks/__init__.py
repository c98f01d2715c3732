"""The tasks that prompts come from, and the interface that they have in common."""

from collections.abc import Sequence
from typing import Protocol

from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.examples import Examples
from study.config.names import Operation, Tier
from study.config.small_tasks import SmallTasks
from study.tasks.arithmetic import Arithmetic
from study.tasks.from_file import FileTask
from study.tasks.nursery_text import NurseryText
from study.tasks.prompts import Prompt, Sentence
from study.tasks.small import Small
from study.tasks.small.text import SmallText

FITTING_PROMPTS = 128
"""Number of training prompts of each operation on which probes are fitted."""
GRADIENT_PROMPTS = 32
"""Number of these, of all operations together, on which gradients are taken."""


class Task(Protocol):
    """The interface of a task. Each set of prompts is a function of the arguments alone."""

    def training_prompts(
        self, operations: Sequence[Operation], tiers: Sequence[Tier], seed: int, step: int, batch_size: int
    ) -> list[Prompt]:
        """Return the batch of one step: operations in turn, never a held-out prompt."""
        ...

    def fitting_prompts(
        self, operations: Sequence[Operation], per_class: int, seed: int, held_out: bool = False
    ) -> list[Prompt]:
        """Return distinct prompts of the first wording in training templates, operations in turn, `per_class` of each
        or all there are: training prompts, or held-out ones."""
        ...

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Return distinct held-out prompts, tier by tier, as many of each operation as `evaluation` says."""
        ...

    def largest_held_out(self, tier: Tier) -> int:
        """Return the largest number of held-out prompts that every operation has in a tier."""
        ...

    def probe(self) -> list[Prompt]:
        """Return one prompt of each operation, on which gates are checked."""
        ...

    def counterfactual(self, prompt: Prompt, operation: Operation) -> Prompt:
        """Return the prompt that differs from an evaluated one in its operation alone, or a like one."""
        ...

    @property
    def words(self) -> frozenset[str]:
        """Every word of every prompt, in lower case: none of them may be a class token."""
        ...

    @property
    def longest(self) -> int:
        """Approximate number of tokens of the longest prompt with its answer."""
        ...


def task_of(data: Data | Examples | SmallTasks) -> Task:
    """Return the task that a study's `data` describes."""
    if isinstance(data, Examples):
        return FileTask(data)
    return Small(data) if isinstance(data, SmallTasks) else Arithmetic(data)


def vocabulary_of(data: Examples | SmallTasks) -> list[str]:
    """Return the words that tokenizers which are built locally need for a task that is not arithmetic."""
    return FileTask(data).vocabulary if isinstance(data, Examples) else Small(data).vocabulary


class TrainingText(Protocol):
    """The text that small models are trained on from random weights. Each draw is a function of its arguments alone."""

    @property
    def vocabulary(self) -> list[str]:
        """Words and numbers that are whole tokens."""
        ...

    @property
    def templates(self) -> frozenset[str]:
        """Names of the templates that prompts are of."""
        ...

    def prompts(self, seed: int, step: int, count: int) -> list[Prompt]:
        """Return the prompts of one batch, of all operations and tiers, none of them held out."""
        ...

    def sentences(self, seed: int, step: int, count: int) -> list[Sentence]:
        """Return the sentences of one batch."""
        ...

    def held_out(self, prompts: Sequence[Prompt], sentences: Sequence[Sentence]) -> int:
        """Return the number of contents in a batch that are held out, which must be 0."""
        ...


def text_of(data: Data | SmallTasks, words: Sequence[str]) -> TrainingText:
    """Return the training text of a study's `data`, with sentences about the class tokens `words`."""
    return SmallText(data, words) if isinstance(data, SmallTasks) else NurseryText(data, words)
