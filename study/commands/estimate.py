"""Estimates of whether the models of a study fit this machine and how long it takes, without loading or fetching any.

The arithmetic operations of each unit are counted: 2 for each parameter of the blocks and each token that passes
forward, twice that in training, where the base weights are frozen; and 2 for each parameter of the embedding and each
row of logits. A unit's time is their number divided by the measured speed of large products.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from study.config.arms import ARMS
from study.config.catalogue import BuiltSource, FolderSource, GgufSource, Model
from study.config.json_files import read_json
from study.config.lenses import LensFitting, LensKind
from study.config.names import Tier
from study.config.stages import Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, Predictors, Pretraining, Reference, StageOne, Unit, origin
from study.models.cache import locate
from study.models.cache_root import cache_root
from study.plan.memory import study_gb
from study.plan.read import Plan
from study.plan.stacks import largest_stack
from study.results.files import write_json
from study.tasks import FITTING_PROMPTS, GRADIENT_PROMPTS, task_of
from study.tasks.prompts import Prompt

UTILISATION = 0.6
"""Share of the measured speed that units reach, since small products and other operations are slower."""
MARGIN = 2
"""Factor by which an estimate of time may be wrong, either way."""
PIECE = re.compile(r"\d| (?=\d)|[^\W\d]+|[^\w\s]")
"""Pieces of text that are about one token each: a digit, the space before a number, a word, a sign."""
MOVES = 16
"""Moves of a hidden state in the interchange at one layer; each passes through the blocks above it."""
ONCE = 5
"""Forward passes of a prompt in the interchange, whatever the layers: for its state, that of its source, and those of
training prompts."""
TRAINING = 3
"""Forward passes of an evaluation that a step of training takes as long as. Forward and backward are two; batches are
smaller, and adapters and the optimiser add passes over memory: counted as two, steps did 28 to 45 GFLOP/s on two cores
where evaluations did 67 to 130."""
CHAT_TOKENS = 30
"""Tokens that a chat template puts around a prompt, an estimate."""
FITTING = 2
"""Times as many steps as its settings have that shuffled labels train, which end when they have fitted: 1.6 to 3 were
seen. Controls whose classes are those of the task fitted within the steps of the plain cell."""


@dataclass(frozen=True)
class Speed:
    """The speed of this machine, as `study doctor` measured it."""

    gflops: float
    """GFLOP/s of float32 matrix products in one worker."""
    workers: int
    """Number of workers among which the cores were divided."""


@dataclass(frozen=True)
class Machine:
    """The resources that one machine offers to a study."""

    memory_gb: float
    """Memory that all units together may take, GB."""
    workers: int
    """Number of units that run at a time, if memory allows."""
    gflops: float | None
    """GFLOP/s of float32 matrix products in one worker; None if it was not measured."""


@dataclass(frozen=True)
class Prospect:
    """The estimates for one model on one machine."""

    needed_gb: float | None
    """Memory that the model needs, GB; None if the catalogue does not give its parameters."""
    fits: bool
    """Whether it fits in memory; true if that is not known."""
    to_fetch: float | None
    """Bytes to download; None if the catalogue does not give them."""
    seconds: float | None
    """Time of the units that are to run, several at a time; None if it cannot be estimated."""


@dataclass(frozen=True)
class Work:
    """The amount of computation of a unit; training counts as two forward passes."""

    tokens: float = 0.0
    """Tokens that pass through the blocks."""
    rows: float = 0.0
    """Hidden states that pass through the unembedding."""

    def __add__(self, other: "Work") -> "Work":
        return Work(self.tokens + other.tokens, self.rows + other.rows)

    def times(self, count: float) -> "Work":
        return Work(count * self.tokens, count * self.rows)

    def operations(self, model: Model) -> float | None:
        """Return the number of float32 operations; None if the catalogue lacks sizes of the model.

        The parameters of an untied unembedding are counted as part of the blocks.
        """
        if model.parameters is None or model.hidden_size is None or model.vocabulary_size is None:
            return None
        embedding = model.hidden_size * model.vocabulary_size
        return 2 * ((model.parameters - embedding) * self.tokens + embedding * self.rows)


def prospects(plan: Plan, to_run: Sequence[Unit], machine: Machine) -> dict[str, Prospect]:
    """Return the estimates by model, in the order of the study."""
    work = works(plan.study, to_run)
    found = {}
    for name, model in plan.models.items():
        own = [unit for unit in to_run if origin(unit).model_name == name]
        sizes = (1, largest_stack(own, plan.study.ray.stack))
        needed, stacked = (study_gb(model, plan.study, cells) for cells in sizes)
        total = sum((work[unit.id] for unit in own), Work())
        operations = total.operations(model) if total != Work() else 0.0
        seconds = None
        if operations is not None and (machine.gflops or not operations):
            at_once = machine.workers if stacked is None else int(machine.memory_gb / math.ceil(stacked))
            speed = 1e9 * UTILISATION * (machine.gflops or 1.0)
            seconds = operations / speed / max(1, min(machine.workers, at_once))
        found[name] = Prospect(needed, needed is None or needed <= machine.memory_gb, _to_fetch(model), seconds)
    return found


def works(study: Study, units: Sequence[Unit]) -> dict[str, Work]:
    """Return the amount of computation of each unit, by its id."""
    lengths = _lengths(study)
    return {unit.id: _work(unit, study, lengths) for unit in units}


def remember(speed: Speed) -> None:
    """Write a measurement to the cache of models."""
    write_json(_record(), vars(speed))


def measured() -> Speed | None:
    """Return the speed that was measured on this machine; None if it was not."""
    try:
        found = read_json(_record())
        return Speed(float(found["gflops"]), int(found["workers"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record() -> Path:
    return cache_root() / "speed.json"


def _to_fetch(model: Model) -> float | None:
    if locate(model) or isinstance(model.source, BuiltSource | FolderSource | GgufSource):
        return 0.0
    return model.download


@dataclass(frozen=True)
class _Length:
    """Mean length of the prompts of one tier, in tokens."""

    whole: float
    """Tokens of the prompt, its answer and the stop token."""
    answer: float
    """Tokens of the answer and the stop token."""


def _lengths(study: Study) -> dict[Tier, _Length]:
    """Return the mean lengths by tier, from held-out prompts, which are as long as the trained ones."""
    prompts: dict[Tier, list[Prompt]] = defaultdict(list)
    for prompt in task_of(study.data).evaluation_prompts(study.data.operations, study.evaluation, 0):
        prompts[prompt.tier].append(prompt)
    answer = {tier: mean(len(PIECE.findall(f" {one.answer}")) + 1 for one in some) for tier, some in prompts.items()}
    asked = {tier: mean(len(PIECE.findall(one.text)) for one in some) for tier, some in prompts.items()}
    return {tier: _Length(asked[tier] + answer[tier], answer[tier]) for tier in prompts}


def _fitted_lens(lens: LensKind, fitting: LensFitting, model: Model) -> Work:
    """Return what it takes to write the texts of a lens, to fit it and to hold it against the model."""
    if lens == "logit":
        return Work()
    texts = fitting.texts + fitting.held_out
    texts_passed = Work(3 * texts * fitting.tokens, texts * fitting.tokens)
    if lens == "jacobian":  # a backward pass, which is twice a forward one, for each dimension of a state
        used = fitting.jacobian_texts * fitting.jacobian_tokens
        return texts_passed + Work(2 * used * (model.hidden_size or 0), 0)
    part = min(1.0, fitting.vocabulary / (model.vocabulary_size or fitting.vocabulary))
    return texts_passed + Work(0, TRAINING * part * fitting.steps * fitting.positions * model.blocks)


def _work(unit: Unit, study: Study, lengths: Mapping[Tier, _Length]) -> Work:
    evaluation, blocks, tiers = study.evaluation, origin(unit).model.blocks, list(lengths)

    def passing(prompts: Mapping[Tier, float], rows: float = 0.0) -> Work:
        """Return one forward pass, with logits for every token of the answers and `rows` more of each prompt."""
        around = CHAT_TOKENS if getattr(origin(unit), "prompt", "plain") == "chat" else 0
        tokens = sum(count * (lengths[tier].whole + around) for tier, count in prompts.items())
        read = sum(count * (lengths[tier].answer + rows) for tier, count in prompts.items())
        return Work(tokens, read)

    def of_each(count: int, chosen: Sequence[Tier]) -> dict[Tier, float]:
        """Return the number of prompts by tier: `count` of every operation, or as many as are evaluated."""
        operations = unit.operations if isinstance(unit, Cell) else study.data.operations
        return {tier: len(operations) * min(count, evaluation.prompts_in(tier)) for tier in chosen}

    def training(settings: Stage1 | Stage2, wordings: Sequence[Tier], rows: float, steps: int) -> Work:
        batch = {tier: settings.batch_size / len(wordings) for tier in wordings}
        return passing(batch, rows).times(TRAINING * steps)

    everything = {tier: of_each(evaluation.prompts_in(tier), [tier])[tier] for tier in tiers}
    if isinstance(unit, Pretraining):  # all weights have gradients, and all tokens logits
        batch = {tier: unit.training.batch_size / len(tiers) for tier in tiers}
        return passing(batch).times(3 * unit.training.steps)
    if isinstance(unit, StageOne):
        trained = training(study.stage1, study.stage1.wordings, 0, study.stage1.steps)
        return trained + _fitted_lens(unit.lens, unit.fitting, unit.model)
    if isinstance(unit, Reference):
        return passing(everything, blocks).times(2 if study.data.answered else 1)
    profile = of_each(evaluation.profile_prompts, tiers)
    if isinstance(unit, Predictors):
        fitted = {tiers[0]: float(2 * len(study.data.operations) * FITTING_PROMPTS)}
        gradients = passing({tiers[0]: GRADIENT_PROMPTS}).times(len(unit.readouts) * (blocks + 2))
        return passing(profile, 2 * blocks) + passing(fitted) + gradients
    steps = min(unit.most_steps, (FITTING if ARMS[unit.arm].shuffled_labels else 1) * unit.stage2.steps)
    # A class name that is read as a sequence is put after each prompt, when it is evaluated every name of the pair.
    names = len(unit.readouts[0].pair) if unit.readouts[0].class_name == "sequence" else 0
    trained = training(unit.stage2, unit.wordings, unit.layer is not None, steps)
    if names and unit.layer is not None:
        trained = trained.times(2)
    if unit.scored:  # with a mask and without
        trained += passing({tier: everything[tier] for tier in tiers[:2]}, blocks).times(2)
    looks = steps // evaluation.onset_every if evaluation.onset_every else 0
    swapped = of_each(evaluation.causal_prompts, sorted({*unit.wordings, *study.stage1.wordings}))
    passes = sum(MOVES * (blocks - layer) / blocks for layer in unit.intervened)
    trained += passing(swapped).times(passes + (ONCE if passes else 0))
    if unit.layer is None:
        return trained + passing(of_each(evaluation.onset_prompts, tiers)).times(looks) + passing(everything, blocks)
    onset = passing(of_each(evaluation.onset_prompts, tiers), blocks).times(looks)
    evaluated = passing(everything, 2) + Work(0, sum(profile.values()) * (blocks - 2))
    return trained + onset + evaluated.times(1 + names)
