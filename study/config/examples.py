"""The prompts of a custom task: the lines of its file."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from study.config.base import Settings, content_hash
from study.config.catalogue import Sha256
from study.config.names import Operation, Tier
from study.config.text import Name, PathText, readable


def _trimmed(text: str) -> str:
    if text != text.strip():
        raise PydanticCustomError("trimmed", "begins or ends with white space")
    return text


def _one_line(text: str) -> str:
    if len(text.splitlines()) > 1:
        raise PydanticCustomError("one_line", "has more than one line: a new line ends an answer")
    return text


Text = Annotated[str, Field(min_length=1, max_length=10**5), AfterValidator(_trimmed), AfterValidator(readable)]


ExampleKey = Literal["prompt", "answer", "class", "split", "wording", "template", "group"]


class Example(Settings):
    """A prompt of a custom task with its answer: one line of the file."""

    prompt: Text
    answer: Annotated[Text, AfterValidator(_one_line)]
    operation: Annotated[Name, Field(alias="class")]
    split: Literal["train", "test"]
    wording: Name = "plain"
    """Tier of wording that the prompt belongs to."""
    template: Name | None = None
    """Name of the prompt's template: prompts of one template differ only in what they are about. If none is given, all
    prompts of a class and wording have the same one."""
    group: Text | None = None
    """What the prompt is about; all prompts of a group are on one side of the split. If none is given, the prompt is a
    group of its own."""

    @property
    def about(self) -> str:
        """The group; the prompt itself where none is given."""
        return self.group or self.prompt


class Examples(Settings):
    """The prompts of a file, instead of arithmetic.

    The defaults of settings that name wordings come from the file: `wordings` is its first one that can be trained on,
    `primary_tier` its last one, and `prompts_per_class` is no more than there are.
    """

    file: PathText
    """JSON Lines file, or CSV with a line of names, relative to the folder of the study's YAML, one prompt a line, with
    `prompt`, `answer`, `class` and `split` (`train` or `test`), and optionally `wording`, `template` and `group`."""
    columns: dict[ExampleKey, Annotated[str, Field(min_length=1, max_length=200)]] = {}
    """What the file calls these, such as `{prompt: question, class: label}`. Where it is given, what the file has
    beside them is passed over."""

    @field_validator("columns")
    @classmethod
    def _each_of_its_own(cls, columns: dict[ExampleKey, str]) -> dict[ExampleKey, str]:
        """Two keys of one column would train one as the other."""
        taken = [*columns.values(), *(key for key in get_args(ExampleKey) if key not in columns)]
        if twice := [name for name in columns.values() if taken.count(name) > 1]:
            raise PydanticCustomError(
                "columns", "'{name}' is taken for two keys: name another column", {"name": twice[0]}
            )
        return columns

    sha256: Sha256 | None = None
    """SHA-256 of the file, which is refused if it has another one. It is recorded in results and identifies their
    prompts."""
    _lines: tuple[Example, ...] = ()

    @classmethod
    def of(
        cls, file: str, sha256: str, lines: Sequence[Example], columns: Mapping[ExampleKey, str] | None = None
    ) -> Self:
        """Return examples with the lines of the file, which travel with every unit; in ids, `identity` replaces
        them."""
        examples = cls(file=file, sha256=sha256, columns=dict(columns or {}))
        examples._lines = tuple(lines)
        return examples

    @property
    def identity(self) -> str | None:
        """What identifies the prompts: the SHA-256 of the file, and what its columns are taken for."""
        return content_hash([self.sha256, self.columns]) if self.columns else self.sha256

    @property
    def lines(self) -> tuple[Example, ...]:
        return self._lines

    @property
    def operations(self) -> list[str]:
        """The classes, in the order of the file."""
        return list(dict.fromkeys(line.operation for line in self._lines))

    @property
    def tiers(self) -> tuple[str, ...]:
        """The wordings, in the order of the file."""
        return tuple(dict.fromkeys(line.wording for line in self._lines))

    @property
    def first_tiers(self) -> list[Tier]:
        """The wordings that are trained on where a study names none."""
        return [self.trained[0]]

    @property
    def by_task(self) -> list[list[Operation]]:
        """The operations of each task: all are of one."""
        return [list(self.operations)]

    def tiers_of(self, operations: Iterable[Operation]) -> Sequence[Tier]:
        """Return the wordings that these classes have: all."""
        return self.tiers

    @property
    def trained(self) -> tuple[str, ...]:
        """The wordings that can be trained on: those with training prompts of every class."""
        places = {(line.wording, line.operation) for line in self._lines if line.split == "train"}
        return tuple(tier for tier in self.tiers if all((tier, name) in places for name in self.operations))
