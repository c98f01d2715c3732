"""`python -m study.pipeline.token_checks STUDY.yaml`: what the units of a study would find in their prompts and class
tokens, as one line of JSON. Only the tokenizers of models that are on this machine are loaded, no weights.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlx_lm.utils import load_config

from study.config.catalogue import Model
from study.config.units import Cell, StageOne, Unit, foundations, origin
from study.lens.prompt_checks import answers_named, check_prompts, usable_tokens
from study.lens.tokens import ClassTokenError, Encoded, encode
from study.models import ModelError
from study.models.cache import locate
from study.models.limits import CheckedTokenizer, EncodingError, limits_in
from study.models.load import LOADING, load_tokenizer
from study.plan.prompts import prompts_of
from study.plan.read import read_study
from study.tasks import task_of
from study.tasks.prompts import Prompt

Found = dict[str, list[str]]
"""By unit id, its state (`failed`, `skipped`, or `run`), the reason, and warnings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; returns 0."""
    (file,) = arguments or sys.argv[1:]
    plan = read_study(Path(file))
    found: Found = {}
    for name, model in plan.models.items():
        own = [unit for unit in plan.units if origin(unit).model_name == name]
        if folder := locate(model):
            found |= check_units(own, model, folder)
    json.dump(found, sys.stdout)
    return 0


def check_units(units: Sequence[Unit], model: Model, folder: Path) -> Found:
    """Return what each unit of a model would find; `folder` is the model's."""
    try:
        tokenizer = CheckedTokenizer(load_tokenizer(folder), limits_in(load_config(folder)))
    except LOADING as error:
        reason = f"{ModelError.__name__}: mlx-lm cannot load {folder}: {error}"
        return {unit.id: ["failed", reason] for unit in units}
    found: Found = {}
    asked = {unit.id: prompts_of(unit) for unit in units}
    beyond: list[str] = []  # what is told of prompts that are too long is the same for all units of the model
    with suppress(EncodingError):
        beyond = check_prompts(tokenizer, (prompt for prompts in asked.values() for prompt in prompts))
    for unit in units:
        lacking = next((one for one in foundations(unit) if found.get(one.id, ["run"])[0] == "failed"), None)
        found[unit.id] = (
            ["failed", found[lacking.id][1]] if lacking else _checked(unit, asked[unit.id], beyond, tokenizer)
        )
    return found


def _checked(unit: Unit, prompts: Sequence[Prompt], beyond: list[str], tokenizer: CheckedTokenizer) -> list[str]:
    try:
        warnings = beyond if check_prompts(tokenizer, prompts) else []
        if isinstance(unit, Cell) and unit.pair:
            warnings = [*warnings, *_of_tokens(unit, tokenizer, unit.stage_one)]
    except EncodingError as error:
        return ["failed", f"{type(error).__name__}: {error}"]
    except ClassTokenError as error:
        return ["skipped", f"token: {error}"]
    return ["run", "", *warnings]


def _of_tokens(cell: Cell, tokenizer: CheckedTokenizer, first: StageOne) -> list[str]:
    """Return warnings about a cell's class tokens. Raises ClassTokenError where they cannot be used."""
    task = task_of(first.data)
    asked = task.evaluation_prompts(first.data.operations, cell.evaluation, first.seed)
    evaluated: list[Encoded] = [encode(tokenizer, prompt) for prompt in asked if prompt.operation in cell.operations]
    tokens = usable_tokens(tokenizer, cell.readouts[0], first.seed, task.words, evaluated)
    return answers_named(tokens, evaluated)


if __name__ == "__main__":
    sys.exit(main())
