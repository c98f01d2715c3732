"""The `config.yaml` of the published experiment, read as a study of one cell."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from study.config.base import Settings
from study.config.bounds import Alpha, BatchSize, LearningRate, PromptCount, Rank, Seed, Steps
from study.config.catalogue import Entry, HubSource
from study.config.names import Fraction, Operation, Projections, Weight
from study.config.recipes import CORRECTED
from study.models import ModelError
from study.models.facts import known_model

DEPTH = 0.55
"""Relative depth of the classifier layer: block int(0.55 N), 0-based, of N blocks."""
TARGETS = {"multiply": "multiply", "add": "add", "subtract": "subtract"}
"""Class tokens by operation, where the file gives none."""


class SeedLora(Settings):
    """Settings of a LoRA adapter."""

    rank: Rank
    alpha: Alpha | None = None
    """Twice the rank if not given."""
    targets: Projections | None = None
    """Names of the linear layers to adapt; those of the stage if not given."""
    dropout: Annotated[float, Field(ge=0, le=0)] = 0.0
    """Must be 0: neither stage uses dropout."""

    def as_study(self, projections: list[str] | Literal["all"]) -> dict[str, Any]:
        return {"rank": self.rank, "alpha": self.alpha or 2.0 * self.rank, "projections": self.targets or projections}


class SeedStage1(Settings):
    """Stage 1: fine-tuning on answers."""

    method: Literal["sft"] = "sft"
    max_steps: Steps = 500
    batch_size: BatchSize = 4
    learning_rate: LearningRate = 2e-4
    lora: SeedLora = SeedLora(rank=16)


class Classifier(Settings):
    """The relative depth at which the class loss is applied, and the class tokens."""

    classifier_layer_pct: Fraction | None = None
    classifier_targets: dict[Operation, str] | list[Operation] | None = None


class SeedStage2(Classifier):
    """Stage 2: dual reward on the fused model."""

    method: Literal["dual_reward"] = "dual_reward"
    max_steps: Steps = 200
    learning_rate: LearningRate = 1e-4
    classifier_weight: Weight = 0.2
    lora: SeedLora = SeedLora(rank=32)


class SeedParameters(Classifier):
    """Further parameters of the experiment."""

    seed: Seed = 42
    num_samples: PromptCount | None = None
    """Has no effect: a step draws its prompts from all trained operands."""
    test_prompts: Any = None
    """Has no effect: the recipe determines the prompts."""


class PublishedFile(SeedParameters):
    """The whole file; parameters are at its top level or under `parameters`."""

    name: str
    description: str = ""
    model: str = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    stage1: SeedStage1 = SeedStage1()
    stage2: SeedStage2 = SeedStage2()
    parameters: SeedParameters = SeedParameters()
    recipe: str = CORRECTED
    """The recipe to run it by; not part of the published file."""


def is_published_file(data: Any) -> bool:
    """Whether the content of a YAML file is such an experiment: stages with a method or `max_steps`, and no grid."""
    if not isinstance(data, dict) or "grid" in data:
        return False
    stages = [data.get(name) for name in ("stage1", "stage2")]
    return any(isinstance(stage, dict) and {"method", "max_steps"} & stage.keys() for stage in stages)


def as_study(file: PublishedFile, catalogue: Mapping[str, Entry]) -> dict[str, Any]:
    """Return the content of a study's YAML file. Raises KeyError with the model's name if the catalogue lacks it,
    ModelError if its number of blocks is not known."""
    name = next((name for name, model in catalogue.items() if file.model in (name, _hub(model))), None)
    if name is None:
        raise KeyError(file.model)
    mistakes: list[str] = []
    model = known_model(catalogue[name], mistakes)
    if model is None:
        raise ModelError("; ".join(mistakes))
    first, second = file.stage1, file.stage2
    depth = _told(file, "classifier_layer_pct") or DEPTH
    targets = _told(file, "classifier_targets") or TARGETS
    pair = targets if isinstance(targets, dict) else {operation: operation for operation in targets}
    return {
        "name": file.name,
        "models": [name],
        "grid": {
            "layers": [int(depth * model.blocks)],
            "pairs": [pair],
            "weights": [second.classifier_weight],
            "seeds": [_seed(file)],
            "recipes": [file.recipe],
        },
        "data": {"operations": list(pair)},
        "stage1": {**_stage(first), "lora": first.lora.as_study("all")},
        "stage2": {**_stage(second), "batch_size": 1, "lora": second.lora.as_study(["v_proj", "o_proj"])},
    }


def _stage(stage: SeedStage1 | SeedStage2) -> dict[str, Any]:
    batch = {"batch_size": stage.batch_size} if isinstance(stage, SeedStage1) else {}
    return {"steps": stage.max_steps, "learning_rate": stage.learning_rate, **batch}


def _told(file: PublishedFile, name: str) -> Any:
    """Return a setting of the classifier, from whichever part of the file has it."""
    places = (getattr(part, name) for part in (file.stage2, file.parameters, file))
    return next((value for value in places if value is not None), None)


def _seed(file: PublishedFile) -> int:
    return file.parameters.seed if "seed" in file.parameters.model_fields_set else file.seed


def _hub(model: Entry) -> str | None:
    return model.source.hub if isinstance(model.source, HubSource) else None
