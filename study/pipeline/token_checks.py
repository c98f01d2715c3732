"""`python -m study.pipeline.token_checks STUDY.yaml`: what the units of a study would find in their prompts and class
tokens, as one line of JSON. Models that are on this machine are opened, but their weights are not read; those that
the study would build with settings of its user's are built for it.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from study.config.catalogue import BuiltSource, GgufSource, Model
from study.config.units import Cell, Unit, foundations, origin
from study.lens.prompt_checks import answers_named, check_prompts, usable_tokens
from study.lens.tokens import ClassTokenError, Encoded, encode
from study.models import ModelError
from study.models.built import build
from study.models.cache import locate
from study.models.gguf import describe
from study.models.limits import CheckedTokenizer, EncodingError
from study.models.load import open_folder
from study.plan.prompts import prompts_of
from study.plan.read import read_study
from study.plan.stacks import stack_key
from study.tasks import task_of

Found = dict[str, list[str]]
"""By unit id, its state (`failed`, `skipped`, or `run`), the reason, and warnings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; returns 0."""
    file, *changes = arguments or sys.argv[1:]
    plan = read_study(Path(file), changes)
    found: Found = {}
    for name, model in plan.models.items():
        own = [unit for unit in plan.units if origin(unit).model_name == name]
        if folder := locate(model):
            found |= check_units(own, model, folder)
        elif isinstance(model.source, BuiltSource) and plan.may_fail_when_built(model):
            found |= _check_built(own, model, model.source)
        elif isinstance(model.source, GgufSource) and not model.source.missing:
            found |= _check_gguf(own, Path(model.source.gguf))
    json.dump(found, sys.stdout)
    return 0


def _check_built(units: Sequence[Unit], model: Model, source: BuiltSource) -> Found:
    with TemporaryDirectory() as folder:
        try:
            build(source, model.blocks, Path(folder))
        except ModelError as error:
            return _failed(units, error)
        return check_units(units, model, Path(folder))


def _check_gguf(units: Sequence[Unit], file: Path) -> Found:
    try:
        describe(file)
    except ModelError as error:
        return _failed(units, error)
    return {}


def _failed(units: Sequence[Unit], error: ModelError | EncodingError) -> Found:
    kind = ModelError if isinstance(error, ModelError) else EncodingError
    return {unit.id: ["failed", f"{kind.__name__}: {error}"] for unit in units}


def check_units(units: Sequence[Unit], model: Model, folder: Path) -> Found:
    """Return what each unit of a model would find; `folder` is the model's."""
    try:
        opened = open_folder(folder, model.blocks, model.weights, model.architecture)
    except ModelError as error:
        return _failed(units, error)
    found: Found = {}
    for prompt in ("plain", "chat"):
        own = [unit for unit in units if getattr(origin(unit), "prompt", "plain") == prompt]
        try:
            tokenizer = opened.tokenizer.for_chat() if own and prompt == "chat" else opened.tokenizer
        except EncodingError as error:
            found |= _failed(own, error)
            continue
        checks = _Checks(tokenizer, own, opened.reading.warnings)
        for unit in own:
            lacking = next((one for one in foundations(unit) if found.get(one.id, ["run"])[0] == "failed"), None)
            found[unit.id] = ["failed", found[lacking.id][1]] if lacking else checks.of(unit)
    return found


class _Checks:
    """The checks of a model's units; what several of them share is made once."""

    def __init__(self, tokenizer: CheckedTokenizer, units: Sequence[Unit], of_model: Sequence[str]) -> None:
        self._tokenizer, self._of_model = tokenizer, of_model
        self._prompts = {
            stack_key(unit): prompts_of(unit) for unit in {stack_key(unit): unit for unit in units}.values()
        }
        self._problems: dict[str, tuple[bool, EncodingError | None]] = {}
        self._evaluated: dict[tuple[int, tuple[str, ...]], list[Encoded]] = {}
        self._beyond: list[str] = []
        """What is told of prompts that are too long: the same for all units of the model."""
        with suppress(EncodingError):
            every = chain.from_iterable(self._prompts.values())  # of which many stand in several units
            self._beyond = check_prompts(tokenizer, {(one.text, one.answer): one for one in every}.values())

    def of(self, unit: Unit) -> list[str]:
        """Return what the unit would find."""
        try:
            warnings = self._beyond if self._has_long_prompts(stack_key(unit)) else []
            if isinstance(unit, Cell) and unit.pair:
                warnings = [*warnings, *self._of_tokens(unit)]
        except EncodingError as error:
            return ["failed", f"{EncodingError.__name__}: {error}"]
        except ClassTokenError as error:
            return ["skipped", f"token: {error}"]
        return ["run", "", *self._of_model, *warnings]

    def _has_long_prompts(self, key: str) -> bool:
        """Whether there is a warning about prompts. Raises EncodingError where the model cannot take one."""
        if key not in self._problems:
            try:
                self._problems[key] = bool(check_prompts(self._tokenizer, self._prompts[key])), None
            except EncodingError as error:
                self._problems[key] = False, error
        long, problem = self._problems[key]
        if problem:
            raise problem
        return long

    def _of_tokens(self, cell: Cell) -> list[str]:
        """Return warnings about a cell's class tokens. Raises ClassTokenError where they cannot be used."""
        first = cell.stage_one
        task, key = task_of(first.data), (first.seed, tuple(cell.operations))
        if key not in self._evaluated:
            asked = task.evaluation_prompts(first.data.operations, cell.evaluation, first.seed)
            own = [prompt for prompt in asked if prompt.operation in cell.operations]
            self._evaluated[key] = [encode(self._tokenizer, prompt) for prompt in own]
        evaluated = self._evaluated[key]
        tokens = usable_tokens(self._tokenizer, cell.readouts[0], first.seed, task.words, evaluated)
        return answers_named(tokens, evaluated)


if __name__ == "__main__":
    sys.exit(main())
