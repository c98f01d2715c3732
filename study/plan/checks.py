"""Checks of a study's settings against one another."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

from study.config.arms import ARMS
from study.config.bounds import MOST_CELLS
from study.config.catalogue import Model
from study.config.data import AnyData, Data
from study.config.evaluation import FEWEST_TEMPLATES
from study.config.examples import Examples
from study.config.grid import Grid, Part
from study.config.predictors import PREDICTORS
from study.config.recipes import CORRECTED
from study.config.study import Study
from study.config.text import normal_form
from study.config.units import CHAT, Pair, pair_name
from study.plan.expand import trained_layers
from study.tasks import task_of
from study.tasks.arithmetic import operand_pairs


def too_many_cells(study: Study, blocks: Sequence[int]) -> Iterator[str]:
    """Yield a mistake where the grid gives more than MOST_CELLS cells in models of so many blocks each."""
    axes = ("pairs", "weights", "arms", "wordings", "seeds", "prompts", "recipes")
    cells = sum(
        len(trained_layers(grid.layers, count)) * prod(len(getattr(grid, axis)) for axis in axes)
        for grid, _ in study.grids
        for count in blocks
    )
    if cells > MOST_CELLS:
        yield f"grid: its axes give {cells:,} cells; at most {MOST_CELLS:,} are allowed"


def nothing_to_fit(study: Study, models: Mapping[str, Model]) -> Iterator[str]:
    """Yield a mistake where a lens is to be fitted to the blocks before the last, and a model has one block."""
    single = [name for name, model in models.items() if model.blocks == 1]
    if study.lens != "logit" and single:
        yield (
            f"lens: {study.lens} is fitted to the blocks before the last, and {', '.join(single)} has one block; write "
            "logit, or leave that model out"
        )


def cross_checks(study: Study) -> Iterator[str]:
    """Yield mistakes in settings that must fit one another."""
    parts: list[tuple[str, Grid | Part]] = [("grid", study.grid)]
    parts += [(f"also.{i}", part) for i, part in enumerate(study.also)]
    task, ours = task_of(study.data), isinstance(study.data, Data)
    named = [("stage1.wordings", study.stage1.wordings)]
    yield from _alike_in_name(parts)
    for where, part in parts:
        for i, pair in enumerate(part.pairs or []):
            for operation, token in pair.items():
                place = f"{where}.pairs.{i}.{operation}"
                if operation not in study.data.operations:
                    yield f"{place}: stage 1 does not train it; add it to data.operations"
                if normal_form(token) in task.words:
                    yield f"{place}: {token!r} occurs in a prompt; choose a word that does not"
                if " " in token and study.class_name == "single":
                    yield f"{place}: {token!r} is several words, and class_name is single; say first or sequence"
                elif " " in token and study.nursery:
                    yield f"{place}: {token!r} is several words; a nursery learns class names of one word"
        named += [(f"{where}.wordings.{i}", wordings) for i, wordings in enumerate(part.wordings or [])]
        yield from _mixed(study.data, part.over(study.grid) if isinstance(part, Part) else part, where)
        if not study.data.answered:
            yield from _without_answers(part, where)
        if any(recipe != CORRECTED for recipe in part.recipes or []) and not ours:
            yield f"{where}.recipes: a custom task allows only {CORRECTED}; other recipes are for arithmetic"
        if isinstance(study.data, Examples):
            yield from _forgettable(
                study.data, part.arms or study.grid.arms, part.wordings or study.grid.wordings, where
            )
        for axis in ("layers", "pairs", "weights", "arms", "wordings", "seeds", "prompts", "recipes"):
            values = getattr(part, axis)
            if isinstance(values, list) and len({(type(value), json.dumps(value)) for value in values}) < len(values):
                yield f"{where}.{axis}: {values} names a value twice"
    for operations in study.data.by_task:
        if not set(own := study.data.tiers_of(operations)) & set(study.stage1.wordings):
            told = f"{', '.join(operations)} are asked for in {', '.join(own)}"
            yield f"stage1.wordings: none of {', '.join(study.stage1.wordings)} is of one of the tasks: {told}"
    for place, wordings in named:
        for tier in wordings:
            if tier not in study.data.trained:
                allowed = ", ".join(study.data.trained)
                yield f"{place}: not every class has training prompts in {tier!r}; allowed: {allowed}"
    if isinstance(study.data, Data) and not operand_pairs(study.data, held_out=False):
        yield f"data.held_out: {study.data.held_out} leaves no operands to train on; lower it"
    for tier in study.data.tiers:
        asked, most = study.evaluation.prompts_in(tier), task.largest_held_out(tier)
        if asked > most:
            of_file = "add some to the file" if isinstance(study.data, Examples) else "there are no more"
            remedy = "raise data.largest or data.held_out" if ours else of_file
            yield (
                f"evaluation.prompts_per_class: {asked} is more than the {most} held-out prompts that {tier} has for "
                f"every {'operation' if ours else 'class'}; {remedy}, or ask for fewer"
            )
    if study.lens != "logit" and not study.data.answered:
        yield f"lens: {study.lens} is fitted after stage 1, and prompts without answers have none; write logit"
    needing = [name for name in study.decisions.predictors if PREDICTORS[name].of_answers]
    if needing and not study.data.answered:
        yield f"decisions.predictors: {', '.join(needing)} is of the answer loss, and the prompts have no answers"
    few = min(map(study.evaluation.prompts_in, study.data.tiers))
    if (study.decisions.predictor_prompts or 0) > few:
        yield (
            f"decisions.predictor_prompts: {study.decisions.predictor_prompts} is more than the {few} of "
            "evaluation.prompts_per_class, among which they are; ask for fewer, or raise that"
        )
    if len(set(study.models)) < len(study.models):
        yield f"models: {study.models} names a model twice"
    if twice := [name for name in study.models if name.endswith(CHAT) and name.removesuffix(CHAT) in study.models]:
        yield f"models: {', '.join(twice)} is what reports call a model that is prompted by chat; rename it"
    if study.nursery and isinstance(study.data, Examples):
        yield "nursery: it learns arithmetic or small tasks, and data names another; leave one of them out"
    if study.nursery:
        theirs = {normal_form(name): name for name in study.nursery.models}
        if twice := [name for name in study.models if normal_form(name) in theirs]:
            yield f"models: {', '.join(twice)} is a model of the nursery too; rename the change"
        yield from (f"nursery.changes: {mistake}" for mistake in alike(study.nursery.changes))


def _without_answers(part: Grid | Part, where: str) -> Iterator[str]:
    """Yield mistakes in axes of a study of labels alone, which has the class loss and no other."""
    if part.weights and set(part.weights) != {1}:
        yield (
            f"{where}.weights: the prompts have no answers, so that there is no answer loss to weigh against the class "
            f"loss: write [1] (given: {part.weights}); what w = 0 would be, the model as it came, is measured anyway"
        )
    if detached := [arm for arm in part.arms or [] if not ARMS[arm].answer_below]:
        yield f"{where}.arms: {detached[0]} is about the answer loss, and the prompts have no answers; leave it out"


def _alike_in_name(parts: Iterable[tuple[str, Grid | Part]]) -> Iterator[str]:
    """Yield mistakes in pairs that rows and labels would not tell apart, since these have class names alone."""
    seen: dict[str, tuple[str, Pair]] = {}
    for where, part in parts:
        for i, pair in enumerate(part.pairs or []):
            for name in dict.fromkeys((pair_name(pair), "-".join(pair.values()))):
                first, other = seen.setdefault(name, (f"{where}.pairs.{i}", pair))
                if other != pair:
                    yield (
                        f"{where}.pairs.{i}: is called {name}, as {first} is, and labels and tables do not tell them "
                        "apart; give one of them other class names, or a study of its own"
                    )
                    break


def _mixed(data: AnyData, grid: Grid, where: str) -> Iterator[str]:
    """Yield mistakes in pairs and wordings of different tasks, of which there may be several."""
    for i, pair in enumerate(grid.pairs):
        for k, wordings in enumerate(grid.wordings):
            if (own := data.tiers_of(pair)) and not set(own) & set(wordings):
                told = f"{', '.join(pair)} are asked for in {', '.join(own)}"
                yield f"{where}.wordings.{k}: none of {', '.join(wordings)} is of the task of pair {i}: {told}"
        if not any(set(pair) <= set(operations) for operations in data.by_task):
            yield f"{where}.pairs.{i}: {', '.join(pair)} are of different tasks"


def _forgettable(data: Examples, arms: Sequence[str], wordings: Sequence[Sequence[str]], where: str) -> Iterator[str]:
    """Yield mistakes in arms whose labels are drawn for each template: with few there is nothing to remember."""
    shuffled = [arm for arm in arms if ARMS[arm].shuffled_labels]
    for named in wordings if shuffled else ():
        trained = [line for line in data.lines if line.split == "train" and line.wording in named]
        count = len({(line.wording, line.template) for line in trained})
        if count < FEWEST_TEMPLATES:
            yield (
                f"{where}.arms: {shuffled[0]} draws labels for each template, and {' and '.join(named)} has {count} "
                f"for training; give the file at least {FEWEST_TEMPLATES}, or leave the arm out"
            )


def alike(names: Iterable[str]) -> Iterator[str]:
    """Yield mistakes in names that differ only in what a reader, or a disk, may not tell apart."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(normal_form(name), name)
        if first != name:
            yield f"{name}: differs from {first!r} only in upper and lower case or punctuation; choose another name"
