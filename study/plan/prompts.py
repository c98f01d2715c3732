"""All prompts that a unit trains on or evaluates, so that they can be checked before it starts."""

from collections.abc import Iterator, Set

from study.config.evaluation import FEWEST_TEMPLATES
from study.config.units import Cell, Predictors, Pretraining, StageOne, Unit, origin
from study.tasks import FITTING_PROMPTS, task_of, text_of
from study.tasks.prompts import Prompt, following


def prompts_of(unit: Unit) -> list[Prompt]:
    """Return each prompt of a unit once: those of its batches, and the held-out ones that it evaluates.

    A nursery's training has none here: its text is made of words that its own tokenizer has.
    """
    return list({(prompt.text, prompt.answer): prompt for prompt in _prompts(unit)}.values())


def seen_templates(first: StageOne, cell: Cell | None = None) -> dict[str, str]:
    """Return which trainings saw a template, as one text, by the template's name; those that none saw are left out.

    They are taken from the batches themselves; a nursery's training sees all templates that are not held out.
    """
    seen: dict[str, list[str]] = {}
    trained: dict[str, Set[str]] = {}
    if first.data.answered:
        trained["stage1"] = {prompt.template for prompt in _batches(first)}
    if first.nursery:
        trained = {"nursery": text_of(first.nursery.data, first.nursery.words).templates, **trained}
    if cell:
        trained["stage2"] = {prompt.template for prompt in _batches(cell)}
    for training, names in trained.items():
        for name in names:
            seen.setdefault(name, []).append(training)
    return {name: "+".join(by) for name, by in seen.items()}


def samples_by_tier(cell: Cell) -> dict[str, int]:
    """Return the number of samples on which a cell's outcome on each tier is decided, which are templates, or groups
    where there are few templates: of those that no training saw, or of all where there are none such."""
    first = cell.stage_one
    seen = seen_templates(first, cell)
    asked = task_of(first.data).evaluation_prompts(cell.operations, cell.evaluation, first.seed)
    found = {}
    for tier in first.data.tiers:
        own = [prompt for prompt in asked if prompt.tier == tier]
        few = len({prompt.template for prompt in own}) < FEWEST_TEMPLATES
        samples = {prompt.operands if few else prompt.template for prompt in own}
        saw = {prompt.operands if few else prompt.template for prompt in own if prompt.template in seen}
        found[tier] = len(samples - saw) or len(samples)
    return found


def _batches(unit: StageOne | Cell) -> Iterator[Prompt]:
    """Yield the prompts of all batches that a unit may train on."""
    first = origin(unit)
    if isinstance(unit, StageOne):
        steps, size, wordings, operations = (
            unit.stage1.steps,
            unit.stage1.batch_size,
            unit.stage1.wordings,
            list(unit.data.operations),
        )
    else:
        steps, size, wordings, operations = unit.most_steps, unit.stage2.batch_size, unit.wordings, unit.operations
    for step in range(1, steps + 1):
        yield from task_of(first.data).training_prompts(operations, wordings, first.seed, step, size)


def _prompts(unit: Unit) -> Iterator[Prompt]:
    first = origin(unit)
    task = task_of(first.data)
    if isinstance(unit, Pretraining):
        return
    if isinstance(unit, StageOne | Cell):
        yield from _batches(unit)
    if isinstance(unit, Predictors):
        for held_out in (False, True):
            yield from task.fitting_prompts(first.data.operations, FITTING_PROMPTS, first.seed, held_out)
    if isinstance(unit, StageOne):
        yield from task.probe()
        return
    evaluated = task.evaluation_prompts(first.data.operations, unit.evaluation, first.seed)
    yield from evaluated
    if isinstance(unit, Cell) and unit.intervened:  # which need those of the next class too
        source_of = following(unit.operations)
        for prompt in evaluated:
            if prompt.operation in source_of:
                yield task.counterfactual(prompt, source_of[prompt.operation])
        yield from task.fitting_prompts(unit.operations, FITTING_PROMPTS, first.seed)
