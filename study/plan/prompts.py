"""All prompts that a unit trains on or evaluates, so that they can be checked before it starts."""

from collections.abc import Iterator
from dataclasses import replace

from study.config.units import Cell, Predictors, Pretraining, StageOne, Unit, origin
from study.tasks import FITTING_PROMPTS, task_of
from study.tasks.prompts import Prompt


def prompts_of(unit: Unit) -> list[Prompt]:
    """Return each prompt of a unit once: those of its batches, and the held-out ones that it evaluates.

    A nursery's training has none here: its text is made of words that its own tokenizer has.
    """
    return list({(prompt.text, prompt.answer): prompt for prompt in _prompts(unit)}.values())


def _prompts(unit: Unit) -> Iterator[Prompt]:
    first = origin(unit)
    task = task_of(first.data)
    if isinstance(unit, Pretraining):
        return
    if isinstance(unit, StageOne | Cell):
        settings = unit.stage1 if isinstance(unit, StageOne) else unit.stage2
        wordings = unit.stage1.wordings if isinstance(unit, StageOne) else unit.wordings
        operations = first.data.operations if isinstance(unit, StageOne) else unit.operations
        for step in range(1, settings.steps + 1):
            yield from task.training_prompts(operations, wordings, first.seed, step, settings.batch_size)
    if isinstance(unit, Predictors):
        yield from task.fitting_prompts(first.data.operations, FITTING_PROMPTS, first.seed)
    if isinstance(unit, StageOne):
        yield from task.probe()
        return
    evaluated = task.evaluation_prompts(first.data.operations, unit.evaluation, first.seed)
    yield from evaluated
    if isinstance(unit, Cell) and unit.evaluation.causal_prompts:  # which need the answer of the next class too
        following = dict(zip(unit.operations, [*unit.operations[1:], unit.operations[0]], strict=True))
        for prompt in evaluated:
            if prompt.operation in following:
                yield replace(prompt, answer=task.other_answer(prompt, following[prompt.operation]))
