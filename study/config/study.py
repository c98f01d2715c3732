"""All settings of a study's YAML; those of its parts are in modules of their own."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from study.config.arms import ARMS
from study.config.base import Settings
from study.config.bounds import MOST_CELLS, Minutes, Processes, StepsOrNone
from study.config.data import AnyData, Data
from study.config.evaluation import Decisions, Evaluation
from study.config.grid import Grid, Part
from study.config.lenses import LensFitting, LensKind
from study.config.names import LONGEST_MODEL, MANY, ClassName, Tier, TrackerName, each_once
from study.config.nursery import Nursery
from study.config.recipes import CORRECTED
from study.config.stages import Stage1, Stage2, Stage2Change
from study.config.units import Pair, pair_name


def _length(axis: Any) -> int:
    return len(axis) if isinstance(axis, list) else 1


class RaySettings(Settings):
    """How Ray executes the study; these settings change no result and no id."""

    workers: Processes | Literal["auto", 0] = "auto"
    """Units that run at a time on a private cluster: `auto` is one with a GPU, as on a Mac, and one a core without.
    With 0 they run one after the other in the process of the command, without Ray and its dashboard."""
    stack: Processes | Literal["auto"] = "auto"
    """Cells that train side by side over one frozen model: `auto` is up to eight, as many as keep every worker busy,
    and on a GPU more for as long as that makes a cell cheaper. A worker with too little memory trains fewer at a
    time."""
    checkpoint_every: StepsOrNone = 50
    """Steps of a stage between two checkpoints; there is also one after the last step. An interrupted training resumes
    from its last checkpoint. 0 for none."""
    in_flight: Processes = 4
    """Tasks submitted to Ray at a time for each worker, those that run included."""
    quiet_minutes: Minutes = 60.0
    """Minutes without any progress after which a unit is ended and started again."""
    dashboard_port: Annotated[int, Field(ge=1024, le=65535)] = 8265
    """Port of Ray's dashboard on a private cluster; the next free one if it is taken."""


class Study(Settings):
    """One study: the content of its YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
    """Name of the results folder and of the report: lower-case letters, digits, - and _."""
    models: Annotated[list[Annotated[str, Field(max_length=LONGEST_MODEL)]], Field(max_length=MANY)] = []
    """Short names from `models.yaml` in the same folder, and models by what they are: a folder or a `.gguf` file, with
    paths relative to this file, or a repository of the hub (owner/name). May be left out if there is a `nursery`."""
    nursery: Nursery | None = None
    """Small models that the study trains itself."""
    grid: Grid
    also: Annotated[list[Part], Field(max_length=MANY)] = []
    """Further parts of the grid, such as control arms at one depth or more seeds for some of the cells."""
    data: AnyData = Data()
    """Settings of the arithmetic prompts, `file` or `dataset` with the prompts of a custom task, or `tasks` that small
    models learn."""
    class_name: ClassName = "single"
    """How class names are read and trained. `single`: each is one token, and a cell with a name of several is skipped.
    `first`: a name of several tokens is read by its first one. `sequence`: the loss is that of all its tokens, each at
    layer L after those before it, and its log-probability is the sum of theirs. Names must differ in their first
    token."""
    lens: LensKind = "logit"
    """The lens by which classes are trained and read, at every layer and stage. `logit` is the model's own final norm
    and head. `tuned` and `jacobian` put an affine map of each layer before these, which is fitted to each model and
    seed after stage 1 and then frozen: docs/lenses.md."""
    lens_fitting: LensFitting = LensFitting()
    """How a tuned or Jacobian lens is fitted."""
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    evaluation: Evaluation = Evaluation()
    decisions: Decisions = Decisions()
    ray: RaySettings = RaySettings()
    log: Annotated[list[TrackerName], AfterValidator(each_once)] = []
    """Where training curves and outcomes are shown besides the report: `tensorboard`, `mlflow` and `wandb` (Weights &
    Biases), each an extra to install: docs/trackers.md. It changes no result and no id."""

    @model_validator(mode="after")
    def _some_model(self) -> Self:
        if not self.models and self.nursery is None:
            raise PydanticCustomError("models", "no model: name some of models.yaml in `models`, or give a `nursery`")
        return self

    @model_validator(mode="after")
    def _class_names_can_be_read_so(self) -> Self:
        arms = {arm for grid, _ in self.grids for arm in grid.arms if ARMS[arm].class_rows != "own"}
        if self.class_name != "single" and self.recipes != [CORRECTED]:
            raise PydanticCustomError("class_name", "class_name must be `single` with recipes other than `corrected`")
        if self.class_name == "sequence" and arms:
            told = {"arms": " and ".join(sorted(arms))}
            raise PydanticCustomError(
                "class_name", "class_name must be `single` or `first` with {arms}, which set the row of one token", told
            )
        return self

    @model_validator(mode="after")
    def _lens_fits(self) -> Self:
        if self.lens == "logit":
            return self
        if arms := sorted({arm for grid, _ in self.grids for arm in grid.arms if ARMS[arm].class_rows != "own"}):
            told = {"lens": self.lens, "arms": " and ".join(arms)}
            raise PydanticCustomError(
                "lens", "{arms} set rows of the head by states as the logit lens reads them; lens is {lens}", told
            )
        if self.recipes != [CORRECTED]:
            raise PydanticCustomError("lens", "lens must be `logit` with recipes other than `corrected`")
        return self

    @model_validator(mode="after")
    def _not_too_many_cells(self) -> Self:
        models = len(self.models) + (len(self.nursery.models) if self.nursery else 0)
        axes = ("layers", "pairs", "weights", "arms", "wordings", "seeds", "prompts", "recipes")
        # How many `all` layers are is known of a model alone: `too_many_cells` looks again.
        cells = models * sum(math.prod(_length(getattr(grid, axis)) for axis in axes) for grid, _ in self.grids)
        if cells > MOST_CELLS:
            counts = {"cells": f"{cells:,}", "most": f"{MOST_CELLS:,}"}
            raise PydanticCustomError(
                "cells", "the axes of the grid give {cells} cells; at most {most} are allowed", counts
            )
        return self

    @property
    def grids(self) -> list[tuple[Grid, Stage2Change]]:
        """The grid and its further parts, each with its changes of stage 2."""
        return [(self.grid, Stage2Change()), *((part.over(self.grid), part.stage2) for part in self.also)]

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of all parts, each once."""
        return list({pair_name(pair): pair for grid, _ in self.grids for pair in grid.pairs}.values())

    @property
    def wordings(self) -> set[Tier]:
        """The wordings that class labels are given on, in any part."""
        return {tier for grid, _ in self.grids for wordings in grid.wordings for tier in wordings}

    @property
    def recipes(self) -> list[str]:
        """The recipes of all parts, each once."""
        return list(dict.fromkeys(recipe for grid, _ in self.grids for recipe in grid.recipes))
