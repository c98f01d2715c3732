"""The prompts of a custom task: the lines of a file, as a study holds them."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from study.config.base import Settings
from study.config.catalogue import Sha256


def _trimmed(text: str) -> str:
    if text != text.strip():
        raise PydanticCustomError("trimmed", "begins or ends with white space")
    return text


def _one_line(text: str) -> str:
    if len(text.splitlines()) > 1:
        raise PydanticCustomError("one_line", "has more than one line, and a new line ends an answer")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_trimmed)]
Name = Annotated[str, Field(pattern=r"^\w[\w-]*$", max_length=40)]
"""Of letters, digits, - and _: it becomes part of labels and of file names."""


class Example(Settings):
    """A prompt of a custom task with its answer: one line of a file."""

    prompt: Text
    answer: Annotated[Text, AfterValidator(_one_line)]
    operation: Annotated[Name, Field(alias="class")]
    split: Literal["train", "test"]
    wording: Name = "plain"
    """The tier that it belongs to."""
    template: Name | None = None
    """Prompts of the same one differ in what they are about alone. If none is named, all of a class and wording do."""
    group: Text | None = None
    """What its prompts are about; all of a group are on one side of the split. The prompt itself if none is named."""

    @property
    def about(self) -> str:
        """The group."""
        return self.group or self.prompt


class Examples(Settings):
    """The prompts of a file, in the place of arithmetic.

    Settings that name wordings are the file's where they are not given: `wordings` its first that can be trained on,
    `primary_tier` its last, `prompts_per_class` at most all there are.
    """

    file: str
    """JSON Lines, beside the study's YAML: a prompt a line, with `prompt`, `answer`, `class` and `split` (`train` or
    `test`), and where there are several with `wording`, `template` and `group`."""
    sha256: Sha256 | None = None
    """Of the file, which is refused if it has another one; it stands in results, so that they name their prompts."""
    _lines: tuple[Example, ...] = ()

    @classmethod
    def of(cls, file: str, sha256: str, lines: Sequence[Example]) -> Self:
        """With the lines of the file: they travel with every unit, and `sha256` stands for them in ids."""
        examples = cls(file=file, sha256=sha256)
        examples._lines = tuple(lines)
        return examples

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
    def trained(self) -> tuple[str, ...]:
        """The wordings that can be trained on: those with training prompts of every class."""
        places = {(line.wording, line.operation) for line in self._lines if line.split == "train"}
        return tuple(tier for tier in self.tiers if all((tier, name) in places for name in self.operations))
