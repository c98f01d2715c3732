"""The catalogue's facts, against what mlx-lm makes of each model's own configuration."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from study.config.catalogue import BuiltSource, FolderSource, Model, WheelSource
from study.config.units import StageOne
from study.models import ModelError
from study.models.load import fetch, load
from study.plan.expand import expand
from study.plan.read import read_catalogue, read_study

import mlx.nn as nn  # isort: skip
from mlx.utils import tree_flatten  # isort: skip
from mlx_lm.utils import _get_classes  # isort: skip

ROOT = Path(__file__).parents[2]
CATALOGUE = read_catalogue(ROOT / "configs" / "models.yaml", []) or {}
PRETRAINED = {name: model for name, model in CATALOGUE.items() if not isinstance(model.source, BuiltSource)}
CONFIGS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "hub_configs.json").read_text())
"""Of each model the sizes in its config.json."""
FAMILIES = "TinyLlama Llama-3 Qwen2.5 Qwen3 gemma-3 SmolLM2 SmolLM3 OLMo-2 phi Mistral granite mamba".split()
STUDY = read_study(ROOT / "configs" / "architectures.yaml")


def made(config: dict[str, Any]) -> nn.Module:
    """Of the size of the real one; no weight of it is ever computed."""
    model_class, arguments = _get_classes(config)
    model = model_class(arguments.from_dict(json.loads(json.dumps(config))))
    text = getattr(model, "language_model", model)
    if config["model_type"].startswith("gemma3"):
        text.sanitize({})  # ties the head, as loading weights does
    return model


@pytest.mark.parametrize("name", PRETRAINED)
def test_blocks_sizes_and_parameters_are_those_of_the_model_that_mlx_lm_makes_of_its_configuration(name: str) -> None:
    config = CONFIGS[name.removesuffix("-4bit")]
    model, entry = made(config), CATALOGUE[name]
    embedding = max((m.weight for m in model.modules() if isinstance(m, nn.Embedding)), key=lambda weight: weight.size)
    assert entry.architecture == config["model_type"]
    assert entry.blocks == len(model.layers)
    assert embedding.shape == (entry.vocabulary_size, entry.hidden_size)
    assert entry.parameters == pytest.approx(sum(value.size for _, value in tree_flatten(model.parameters())), rel=1e-3)


def test_every_pretrained_model_has_all_facts_and_an_architecture_that_works() -> None:
    works = (ROOT / "docs" / "architectures.md").read_text().partition("## Refused")[0]
    rows = [row.split("|")[1] for row in works.splitlines() if row.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    for name, model in PRETRAINED.items():
        assert model.architecture in names, name
        facts = (model.parameters, model.hidden_size, model.vocabulary_size, model.chat, model.download)
        assert None not in facts, name
        assert model.licence != "unknown", name


def test_downloads_are_those_of_two_to_four_bytes_a_parameter_or_quantised() -> None:
    for name, model in PRETRAINED.items():
        bytes_each = (model.download or 0) / (model.parameters or 1)
        quantised = isinstance(model.source, WheelSource) or model.weights != "float32"
        least, most = (0.5, 1.0) if quantised else (1.95, 4.2)
        assert least < bytes_each < most, name


def test_the_study_over_architectures_takes_all_families_smallest_first() -> None:
    sources = [str(model.source) for model in STUDY.models.values()]
    assert all(any(family.lower() in source.lower() for source in sources) for family in FAMILIES)
    sizes = [model.parameters or 0 for model in STUDY.models.values()]
    assert sizes == sorted(sizes)
    assert set(STUDY.models) == {name for name, model in PRETRAINED.items() if model.weights == "float32"}


def test_what_a_catalogue_tells_of_a_model_changes_no_id() -> None:
    bare = {name: Model(source=model.source, blocks=model.blocks) for name, model in STUDY.models.items()}
    assert [unit.id for unit in expand(STUDY.study, bare)] == [unit.id for unit in expand(STUDY.study, STUDY.models)]


def test_a_model_of_another_architecture_than_its_entry_says_is_refused(tmp_path: Path) -> None:
    folder = fetch(CATALOGUE["tiny-llama"])
    entry = Model(source=FolderSource(folder=str(folder)), blocks=4, architecture="qwen2")
    with pytest.raises(ModelError, match=r"is of the architecture llama, its entry says qwen2: correct `architecture`"):
        load(entry)


def test_the_seeds_of_a_model_are_units_of_their_own() -> None:
    first = [unit for unit in expand(STUDY.study, STUDY.models) if isinstance(unit, StageOne)]
    assert len({unit.id for unit in first}) == 2 * len(STUDY.models)
