"""The prompts of a custom task: the lines of its file."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from study.config.base import Settings, content_hash
from study.config.catalogue import Sha256
from study.config.names import Operation, Tier
from study.config.text import Name, PathText, readable


def _one_line(text: str) -> str:
    if len(text.splitlines()) > 1:
        raise PydanticCustomError("one_line", "has more than one line: a new line ends an answer")
    return text


def _lower(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10**5), AfterValidator(readable)
]
"""A text without the white space at its ends."""
ExampleKey = Literal["prompt", "answer", "class", "split", "wording", "template", "group"]
Split = Literal["train", "test"]
TheirName = Annotated[str, Field(min_length=1, max_length=200)]
"""What a file calls one of its columns or splits."""


class Example(Settings):
    """A prompt of a custom task with its answer: one line of the file."""

    prompt: Text
    answer: Annotated[Text, AfterValidator(_one_line)] | None = None
    """What is trained and scored after the prompt. All prompts of a task have one, or none has."""
    operation: Annotated[Name, Field(alias="class")]
    split: Annotated[Split, BeforeValidator(_lower)]
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
    """The prompts of a file or a dataset, instead of arithmetic.

    The defaults of settings that name wordings come from the file: `wordings` is its first one that can be trained on,
    `primary_tier` its last one, and `prompts_per_class` is no more than there are.
    """

    file: PathText | None = None
    """JSON Lines file, or CSV with a line of names, relative to the folder of the study's YAML, one prompt a line, with
    `prompt`, `answer`, `class` and `split` (`train` or `test`), and optionally `wording`, `template` and `group`."""
    dataset: PathText | None = None
    """In place of `file`, a Hugging Face dataset with such columns: a folder that `save_to_disk` of the package
    `datasets` wrote, relative to the folder of the study's YAML, or the name of one on the hub."""
    config: TheirName | None = None
    """The configuration of a dataset of the hub that has several."""
    splits: dict[Split, TheirName] = {}
    """What is taken for `train` and for `test`, such as `{test: validation}`: names of a dataset's splits, also parts
    of one such as `train[:80%]`, or values in the column of splits. Where it is given, and of a dataset that has splits
    always, others are passed over."""
    columns: dict[ExampleKey, TheirName] = {}
    """What the file or dataset calls these, such as `{prompt: question, class: label}`. Where it is given, what else
    there is beside them is passed over."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.dataset is None):
            raise PydanticCustomError("source", "name either a file or a dataset")
        if self.config is not None and self.dataset is None:
            raise PydanticCustomError("config", "config is of a dataset, and a file has none")
        return self

    @field_validator("splits")
    @classmethod
    def _two_splits(cls, splits: dict[Split, str]) -> dict[Split, str]:
        if len({splits.get(ours, ours).casefold() for ours in get_args(Split)}) == 1:
            raise PydanticCustomError("splits", "the same is taken for train and for test")
        return splits

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

    answers: bool | None = None
    """Whether prompts have answers; if it is left out, whether there is a column of them. Without answers, as with
    labels alone, there is no stage 1 and no answer loss: `weights` is `[1]`, and w = 0 the model as it came."""
    sha256: Sha256 | None = None
    """SHA-256 of the file, or of a dataset's rows as JSON Lines, which are refused if they have another one. It is
    recorded in results and identifies their prompts."""
    _lines: tuple[Example, ...] = ()

    @classmethod
    def of(cls, file: str, sha256: str, lines: Sequence[Example]) -> Self:
        """Return the examples of a file with these lines."""
        return cls(file=file).holding(sha256, lines)

    def holding(self, sha256: str, lines: Sequence[Example]) -> Self:
        """Return these examples with their lines, which travel with every unit; in ids, `identity` replaces them."""
        examples = self.model_copy(update={"sha256": sha256, "answers": any(line.answer for line in lines)})
        examples._lines = tuple(lines)
        return examples

    @property
    def name(self) -> str:
        """The file or dataset, as it is written."""
        return self.file or self.dataset or ""

    @property
    def taken_for(self) -> dict[str, Split]:
        """What each split that counts is taken for, by its name in lower case."""
        return {self.splits.get(ours, ours).casefold(): ours for ours in get_args(Split)}

    @property
    def identity(self) -> str | None:
        """What identifies the prompts: the SHA-256 of the content, and what its columns and splits are taken for."""
        of_file = self.splits if self.file else {}  # the rows of a dataset have these already
        taken = [self.columns, *([of_file] if of_file else [])]
        return content_hash([self.sha256, *taken]) if any(taken) else self.sha256

    @property
    def answered(self) -> bool:
        """Whether prompts have answers, which stage 1 trains."""
        return self.answers is not False

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
