"""Settings of the nursery: small models that a study trains itself, from random weights."""

import random
from collections import Counter
from itertools import product
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from study.config.architectures import SmallArchitecture, check_heads
from study.config.base import Settings
from study.config.bounds import (
    Blocks,
    Heads,
    JsonSettings,
    LearningRate,
    Norm,
    Seed,
    Steps,
    StepsOrNone,
    WeightDecay,
    Width,
)
from study.config.names import MANY, Fraction, each_once
from study.config.text import Name


class NurseryModel(Settings):
    """A small model that the study trains from random weights."""

    architecture: SmallArchitecture = "llama"
    """An architecture of mlx-lm (its `model_type`); `docs/architectures.md` lists them."""
    blocks: Blocks = 4
    """Number of transformer blocks."""
    hidden_size: Width = 96
    """Width of the hidden states."""
    intermediate_size: Width = 192
    """Width of the MLP."""
    attention_heads: Heads = 4
    tied: bool = True
    """Whether the unembedding is the input embedding; false is refused where the architecture leaves no choice."""
    settings: JsonSettings = {}
    """Further keys of the architecture's `config.json`, such as `num_key_value_heads: 1`."""


class NurseryChange(Settings):
    """The settings in which a model differs from the base; a setting that is not given is the base's."""

    architecture: SmallArchitecture | None = None
    blocks: Blocks | None = None
    hidden_size: Width | None = None
    intermediate_size: Width | None = None
    attention_heads: Heads | None = None
    tied: bool | None = None
    settings: JsonSettings | None = None
    """Added to those of the base, or in place of them where a key is the same."""

    def over(self, base: NurseryModel) -> NurseryModel:
        """Return the base with this change."""
        given = {name: value for name, value in self if value is not None}
        return base.model_copy(update={**given, "settings": {**base.settings, **(self.settings or {})}})


class NurseryTraining(Settings):
    """Training with AdamW on all weights, with a linear warm-up and cosine decay of the learning rate to zero; weight
    decay applies to matrices only. Operand pairs that are held out are never seen."""

    steps: Steps = 2000
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 32
    """Sequences of a batch: prompts of all tiers with their answers, and sentences."""
    sentences: Fraction = 0.25
    """Share of a batch that is sentences with the words of the grid's pairs, all words equally often. A word that names
    an operation is used with that meaning."""
    learning_rate: LearningRate = 4e-3
    warmup_steps: StepsOrNone = 100
    weight_decay: WeightDecay = 0.5
    clip_norm: Norm = 1.0
    """Global gradient norm above which gradients are scaled down."""


class NurserySample(Settings):
    """A designed sample of models: each architecture equally often, with sizes that a seed draws so that each level is
    about as often as any other."""

    architectures: Annotated[list[SmallArchitecture], Field(min_length=1, max_length=MANY), AfterValidator(each_once)]
    each: Annotated[int, Field(ge=1, le=100)] = 3
    """Models of each architecture, which differ from one another."""
    blocks: Annotated[list[Blocks], Field(min_length=1, max_length=20), AfterValidator(each_once)] = [4, 8]
    hidden_size: Annotated[list[Width], Field(min_length=1, max_length=20), AfterValidator(each_once)] = [64, 96]
    attention_heads: Annotated[list[Heads], Field(min_length=1, max_length=20), AfterValidator(each_once)] = [2, 4, 8]
    settings: dict[SmallArchitecture, JsonSettings] = {}
    """Further keys of `config.json` by architecture, where mlx-lm's defaults suit large models alone, such as
    `cohere: {logit_scale: 1.0}`."""
    seed: Seed = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        for name in self.settings.keys() - {*self.architectures}:
            told = "has settings for {name}, which is none of its architectures"
            raise PydanticCustomError("sample", told, {"name": name})
        kinds = len(self.blocks) * len(self.hidden_size) * len(self.attention_heads)
        if self.each > kinds:
            told = "{each} models of each architecture are more than the {kinds} that these sizes make"
            raise PydanticCustomError("sample", told, {"each": self.each, "kinds": kinds})
        return self

    @property
    def models(self) -> dict[str, NurseryModel]:
        """The models of the sample by name, such as `llama-4x96h2`: blocks, width and heads.

        One of each architecture comes first, then a second of each, and so on: a sample of fewer of each, or of the
        first of these architectures with one of each, is the beginning of this one.
        """
        used, found = Counter[tuple[int, int]](), {}
        kinds = {one: list(product(self.blocks, self.hidden_size, self.attention_heads)) for one in self.architectures}
        for architecture, left in kinds.items():
            random.Random(f"sample {self.seed} {architecture}").shuffle(left)
        for _ in range(self.each):
            for architecture, left in kinds.items():
                # Of the sizes that are left, those with the levels that have been drawn least.
                sizes = min(left, key=lambda levels: sum(used[place] for place in enumerate(levels)))
                left.remove(sizes)
                used.update(enumerate(sizes))
                blocks, hidden, heads = sizes
                found[f"{architecture}-{blocks}x{hidden}h{heads}"] = NurseryModel(
                    architecture=architecture,
                    blocks=blocks,
                    hidden_size=hidden,
                    intermediate_size=2 * hidden,
                    attention_heads=heads,
                    settings=self.settings.get(architecture, {}),
                )
        return found


BASE = "base"
"""Name of the nursery's model that the others are changes of."""


class Nursery(Settings):
    """Small models that the study trains from random weights, once for each seed: a base, and changes of it. They are
    studied in addition to `models`, under the name `base` and the names of the changes."""

    base: NurseryModel = NurseryModel()
    changes: Annotated[dict[Name, NurseryChange], Field(max_length=100)] = {}
    """Changes by name, each with only the settings that differ from the base: `deep: {blocks: 8}`."""
    sample: NurserySample | None = None
    """A sample of models in place of the base and its changes."""
    training: NurseryTraining = NurseryTraining()

    @model_validator(mode="after")
    def _changes(self) -> Self:
        if self.sample and (self.changes or self.base != NurseryModel()):
            raise PydanticCustomError("nursery", "has a sample, and a base or changes beside it: leave either out")
        if BASE in self.changes:
            raise PydanticCustomError("nursery", "a change cannot be named base: that is the model that it changes")
        for name, change in self.changes.items():
            if change.over(self.base) == self.base:
                raise PydanticCustomError("nursery", "{name} changes nothing in the base", {"name": name})
        for name, one in self.models.items():
            try:
                check_heads(one.hidden_size, one.attention_heads, one.settings)
            except PydanticCustomError as error:
                told = {"name": name, "reason": error.message()}
                raise PydanticCustomError("nursery", "{name}: {reason}", told) from None
        return self

    @property
    def models(self) -> dict[str, NurseryModel]:
        """All models by name, the base first."""
        if self.sample:
            return self.sample.models
        return {BASE: self.base, **{name: change.over(self.base) for name, change in self.changes.items()}}
