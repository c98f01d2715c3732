"""Settings of where the prompts are from."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from study.config.base import Settings
from study.config.examples import Examples
from study.config.names import TIERS, Fraction, Operation, Tier, each_once
from study.config.small_tasks import SmallTasks


class Data(Settings):
    """Settings of the arithmetic prompts."""

    operations: Annotated[
        list[Literal["multiply", "add", "subtract"]], Field(min_length=2, max_length=3), AfterValidator(each_once)
    ] = ["multiply", "add"]
    """Operations that stage 1 trains on."""
    smallest: Annotated[int, Field(ge=0, le=99)] = 2
    """Smallest operand."""
    largest: Annotated[int, Field(ge=1, le=99)] = 20
    """Largest operand."""
    held_out: Fraction = 0.3
    """Share of the unordered operand pairs that are held out: they are never trained on."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.largest - self.smallest < 3:
            raise PydanticCustomError("operands", "largest must be at least smallest + 3")
        return self

    @property
    def tiers(self) -> Sequence[Tier]:
        return TIERS

    @property
    def trained(self) -> Sequence[Tier]:
        """The tiers of wording that can be trained on."""
        return TIERS

    @property
    def by_task(self) -> list[list[Operation]]:
        """The operations of each task: all are of one."""
        return [list(self.operations)]

    @property
    def answered(self) -> bool:
        """Whether prompts have answers, which stage 1 trains: all do."""
        return True

    def tiers_of(self, operations: Iterable[Operation]) -> Sequence[Tier]:
        """Return the tiers of wording that these operations have: all."""
        return TIERS


DATA_KEYS = ("operations", "file", "dataset", "tasks")
"""Keys that tell the sources of prompts apart."""


def _kind_of_data(value: Any) -> str:
    if isinstance(value, Examples) or (isinstance(value, dict) and ("file" in value or "dataset" in value)):
        return "file"
    return "tasks" if isinstance(value, SmallTasks) or (isinstance(value, dict) and "tasks" in value) else "operations"


AnyData = Annotated[
    Annotated[Data, Tag("operations")] | Annotated[Examples, Tag("file")] | Annotated[SmallTasks, Tag("tasks")],
    Discriminator(_kind_of_data),
]
"""The source of the prompts: arithmetic, the file of a custom task, or the tasks that small models learn."""
