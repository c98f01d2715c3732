"""Studies of the tasks that small models learn: what a cell of one task trains and evaluates, and mistakes."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from study.config.catalogue import BuiltSource
from study.config.nursery import NurserySample
from study.config.units import Cell, kind
from study.plan.prompts import prompts_of, samples_by_tier, seen_templates
from study.plan.read import ConfigError, Plan, read_study

STUDY = """
name: small
nursery:
  sample: {architectures: [llama, gpt2], each: 2, blocks: [2, 4], hidden_size: [32], attention_heads: [2]}
grid:
  layers: [0.5]
  pairs:
    - {add: add, subtract: subtract}
    - {animal: animal, tool: tool}
    - {straight: straight, crossed: crossed}
  weights: [0, 0.5]
data: {tasks: [sums, things, swaps]}
stage1: {steps: 4}
stage2: {steps: 4}
evaluation: {prompts_per_class: 48}
"""


def read(folder: Path, text: str) -> Plan:
    (folder / "models.yaml").write_text("{}")
    (folder / "study.yaml").write_text(text)
    return read_study(folder / "study.yaml")


def test_a_cell_trains_and_evaluates_the_task_of_its_pair_alone(tmp_path: Path) -> None:
    plan = read(tmp_path, STUDY)
    assert Counter(map(kind, plan.units)) == {
        **dict.fromkeys(("nursery", "stage1", "reference", "predictors"), 4),
        "cell": 4 * 3 * 2,
    }
    for cell in (unit for unit in plan.units if isinstance(unit, Cell)):
        tiers = cell.stage_one.data.tiers_of(cell.operations)
        assert cell.wordings == [tiers[0]]
        own = {prompt.tier for prompt in prompts_of(cell) if prompt.operation in cell.operations}
        assert own == set(tiers)
        samples = samples_by_tier(cell)
        assert {tier for tier, count in samples.items() if count} == set(tiers)
        assert all(samples[tier] >= 24 for tier in tiers)
    labels = [cell.label for cell in plan.cells(model="llama-4x32h2")]
    assert labels == [
        f"llama-4x32h2|L1|{pair}|w=0.5|s0" for pair in ("add-subtract", "animal-tool", "straight-crossed")
    ]


def test_templates_that_the_small_model_saw_count_as_seen(tmp_path: Path) -> None:
    cell = read(tmp_path, STUDY).cells()[0]
    seen = seen_templates(cell.stage_one, cell)
    held_out = {prompt.template for prompt in prompts_of(cell)} - set(seen)
    assert {by for by in seen.values() if by.startswith("nursery")} == {*seen.values()}
    assert len(held_out) > 24 * 6


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("{tasks: [sums, things, swaps]}", "{tasks: [sums]}"), "grid.pairs.1.animal"),
        (("{tasks: [sums, things, swaps]}", "{tasks: [sums, sums]}"), "data.tasks: names one of them twice"),
        (("{tasks: [sums, things, swaps]}", "{tasks: [products]}"), "data.tasks.0"),
        (("{animal: animal, tool: tool}", "{animal: animal, add: tool}"), "add, animal are of different tasks"),
        (("weights: [0, 0.5]", "weights: [0.5]\n  wordings: [[signs]]"), "none of signs is of the task of pair 1"),
        (("animal: animal,", "animal: dog,"), "'dog' occurs in a prompt"),
        (("prompts_per_class: 48", "prompts_per_class: 100000"), "there are no more, or ask for fewer"),
        (("nursery:\n", "nursery:\n  base: {blocks: 2}\n"), "leave either out"),
        (("stage1: {steps: 4}", "stage1: {steps: 4, wordings: [signs]}"), "none of signs is of one of the tasks"),
        (("each: 2", "each: 3"), "3 models of each architecture are more than the 2 that these sizes make"),
    ],
)
def test_mistakes(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = STUDY.replace(*change)
    assert text != STUDY
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)


def test_a_sample_has_each_architecture_and_each_level_equally_often_and_no_model_twice() -> None:
    sample = NurserySample(architectures=["llama", "gpt2", "mamba2", "olmo2"], each=6, seed=3)
    models = sample.models
    assert len(models) == 24
    assert Counter(one.architecture for one in models.values()) == dict.fromkeys(sample.architectures, 6)
    for name in ("blocks", "hidden_size", "attention_heads"):
        counts = Counter(getattr(one, name) for one in models.values())
        assert max(counts.values()) - min(counts.values()) <= 2
    assert len({one.model_dump_json() for one in models.values()}) == 24
    assert models == NurserySample(architectures=sample.architectures, each=6, seed=3).models
    assert models != NurserySample(architectures=sample.architectures, each=6, seed=4).models


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    names = ["llama", "gpt2", "mamba2", "olmo2"]
    large = list(NurserySample(architectures=names, each=3).models.items())
    assert list(NurserySample(architectures=names, each=1).models.items()) == large[:4]
    assert list(NurserySample(architectures=names[:2], each=1).models.items()) == large[:2]


def test_an_architecture_of_a_sample_has_its_own_settings() -> None:
    sample = NurserySample.model_validate(
        {"architectures": ["llama", "cohere"], "each": 1, "settings": {"cohere": {"logit_scale": 1.0}}}
    )
    assert [one.settings for one in sample.models.values()] == [{}, {"logit_scale": 1.0}]
    with pytest.raises(ValidationError, match="settings for gpt2"):
        NurserySample.model_validate({"architectures": ["llama"], "settings": {"gpt2": {"n_ctx": 64}}})


def test_a_tied_model_says_so_where_its_architecture_would_not_be(tmp_path: Path) -> None:
    base = "base: {architecture: minicpm, blocks: 2, hidden_size: 32, attention_heads: 2}"
    changes = "changes: {untied: {tied: false}, other: {architecture: llama}}"
    sample = next(line for line in STUDY.splitlines() if "sample:" in line)
    text = STUDY.replace(sample, f"  {base}\n  {changes}")
    models = read(tmp_path, text).models
    sources = {name: model.source for name, model in models.items()}
    settings = {name: source.settings for name, source in sources.items() if isinstance(source, BuiltSource)}
    assert settings["base"] == {"tie_word_embeddings": True}
    assert settings["untied"] == {"tie_word_embeddings": False}
    assert settings["other"] == {}  # tied anyway, and its id is as it was


def test_a_part_of_another_task_has_no_w_zero_without_wordings(tmp_path: Path) -> None:
    text = STUDY.replace("[sums, things, swaps]", "[sums, things]").replace(
        "    - {animal: animal, tool: tool}\n    - {straight: straight, crossed: crossed}\n", ""
    )
    text = text.replace("weights: [0, 0.5]", "weights: [0, 0.5]\n  wordings: [[signs]]")
    text += "also:\n  - {pairs: [{animal: animal, tool: tool}], wordings: [[named]]}\n"
    cells = [unit for unit in read(tmp_path, text).units if isinstance(unit, Cell)]
    zeros = {(frozenset(cell.operations), tuple(cell.wordings)) for cell in cells if cell.layer is None}
    assert zeros == {
        (frozenset({"add", "subtract"}), ("signs",)),
        (frozenset({"animal", "tool"}), ("named",)),
    }
