"""The tasks that small models learn from random weights: names of their classes and tiers, and their settings."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from study.config.base import Settings
from study.config.names import Names, Operation, Tier, each_once


class SmallTask(NamedTuple):
    """The names of one task."""

    operations: tuple[Operation, Operation]
    """Its two classes."""
    tiers: tuple[Tier, ...]
    """Its tiers of wording. The first is the one that class labels are given on."""


SMALL_TASKS: dict[str, SmallTask] = {
    "sums": SmallTask(("add", "subtract"), ("signs", "words", "nouns", "stories", "inverse", "defined")),
    "things": SmallTask(("animal", "tool"), ("named", "far", "chosen", "excluded", "bound")),
    "swaps": SmallTask(("straight", "crossed"), ("one", "negated", "renamed", "two")),
}
"""Sums of two numbers; things that live somewhere; two things that change places. Names of classes and tiers differ
between tasks."""


class SmallTasks(Settings):
    """Prompts of small tasks, all of which every model of the nursery learns."""

    tasks: Annotated[list[Literal["sums", "things", "swaps"]], Field(min_length=1), AfterValidator(each_once)]
    """Tasks by name. A pair of class tokens is of one of them, and a cell trains and evaluates that one alone."""

    @property
    def operations(self) -> list[Operation]:
        """The classes of all tasks."""
        return [name for task in self.tasks for name in SMALL_TASKS[task].operations]

    @property
    def tiers(self) -> Sequence[Tier]:
        """The tiers of all tasks."""
        return [tier for task in self.tasks for tier in SMALL_TASKS[task].tiers]

    @property
    def trained(self) -> Sequence[Tier]:
        """The tiers of wording that can be trained on."""
        return self.tiers

    @property
    def answered(self) -> bool:
        """Whether prompts have answers, which stage 1 trains: all do."""
        return True

    @property
    def by_task(self) -> list[list[Operation]]:
        """The classes of each task."""
        return [list(SMALL_TASKS[task].operations) for task in self.tasks]

    @property
    def first_tiers(self) -> list[Tier]:
        """The tiers that are trained on where a study names none: the first of each task."""
        return [SMALL_TASKS[task].tiers[0] for task in self.tasks]

    def tiers_of(self, operations: Iterable[Operation]) -> Sequence[Tier]:
        """Return the tiers of the tasks that these classes are of."""
        asked = set(operations)
        mine = [SMALL_TASKS[task] for task in self.tasks if asked & set(SMALL_TASKS[task].operations)]
        return [tier for task in mine for tier in task.tiers]

    @property
    def names(self) -> Names:
        """What a study of these tasks may name."""
        return Names(self.operations, self.tiers)
