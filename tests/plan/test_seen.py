"""Which trainings saw a template: counted again from the batches, and never one that is held out."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis.data.samples import by_sample, few_templates
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.names import NOBODY, TIERS
from study.config.nursery import NurseryTraining
from study.config.stages import Lora, Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, Pretraining, StageOne
from study.config.wordings import templates
from study.lens.tokens import encode
from study.models.load import load
from study.plan.expand import expand
from study.plan.prompts import prompts_of, samples_by_tier, seen_templates
from study.plan.read import read_study
from study.tasks import task_of
from study.tasks.nursery_text import NurseryText
from study.training.loop import Objective, TrainingData, train

CAPITALS = Path(__file__).parents[2] / "configs" / "capitals.yaml"
TINY = Model(source=BuiltSource(built="llama"), blocks=4)
LORA = Lora(rank=2, alpha=2.0, projections=["v_proj"])
HELD_OUT = {one.name for tier in TIERS for one in templates(tier) if one.held_out}
WORDINGS = [(["symbolic"], ["symbolic"]), (["symbolic", "semantic"], ["story"]), (list(TIERS), ["construction"])]


def study(first: list[str], second: list[str], arm: str = "plain", **data: Any) -> Study:
    pair = {"multiply": "multiply", "add": "add"}
    return Study(
        name="seen",
        models=["m"],
        grid=Grid(layers=[1], pairs=[pair], weights=[0.0, 0.5], arms=[arm], wordings=[second]),
        data=Data(smallest=2, largest=9, **data),
        stage1=Stage1(steps=4, batch_size=3, wordings=first, lora=LORA),
        stage2=Stage2(steps=3, batch_size=2, lora=LORA),
        evaluation=Evaluation(prompts_per_class=60, profile_prompts=1, onset_prompts=1, causal_prompts=1),
    )


def units(asked: Study) -> tuple[StageOne, Cell]:
    every = expand(asked, {"m": TINY})
    first = next(unit for unit in every if isinstance(unit, StageOne))
    return first, [unit for unit in every if isinstance(unit, Cell)][-1]


def recounted(first: StageOne, cell: Cell, second_steps: int) -> dict[str, str]:
    """From the prompts of each step, drawn by hand."""
    task = task_of(first.data)
    trained: dict[str, set[str]] = {"stage1": set(), "stage2": set()}
    for step in range(1, first.stage1.steps + 1):
        for item in task.training_prompts(
            list(first.data.operations), first.stage1.wordings, first.seed, step, first.stage1.batch_size
        ):
            trained["stage1"].add(item.template)
    for step in range(1, second_steps + 1):
        for item in task.training_prompts(cell.operations, cell.wordings, first.seed, step, cell.stage2.batch_size):
            trained["stage2"].add(item.template)
    names = trained["stage1"] | trained["stage2"]
    return {name: "+".join(stage for stage, found in trained.items() if name in found) for name in names}


@pytest.mark.parametrize(("first_wordings", "second_wordings"), WORDINGS)
@pytest.mark.parametrize("operations", [["multiply", "add"], ["multiply", "add", "subtract"]], ids="-".join)
def test_the_templates_that_are_seen_are_those_of_the_batches(
    first_wordings: list[str], second_wordings: list[str], operations: list[str]
) -> None:
    first, cell = units(study(first_wordings, second_wordings, operations=operations))
    told = seen_templates(first, cell)
    assert told == recounted(first, cell, 3)
    assert seen_templates(first) == {name: "stage1" for name, by in told.items() if by.startswith("stage1")}
    assert "stage2" in told.values() or "stage1+stage2" in told.values()
    assert not HELD_OUT & told.keys()


def test_of_a_control_all_steps_count_that_it_may_train() -> None:
    first, cell = units(study(["symbolic"], ["symbolic", "story"], arm="shuffled_labels"))
    assert cell.most_steps == 12
    assert seen_templates(first, cell) == recounted(first, cell, 12) != recounted(first, cell, 3)


def test_the_batches_that_are_counted_are_those_that_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop of training asks for, as it asks for it."""
    first, cell = units(study(["symbolic", "semantic"], ["story"]))
    drawn: dict[int, set[str]] = {1: set(), 2: set()}
    real = TrainingData.batch

    def batch(data: TrainingData, tokenizer: Any, step: int, size: int) -> Any:
        encoded, shuffled = real(data, tokenizer, step, size)
        drawn[stage].update(item.prompt.template for item in encoded)
        return encoded, shuffled

    monkeypatch.setattr(TrainingData, "batch", batch)
    loaded = load(TINY)
    for stage in (1, 2):
        told = (first.stage1, list(first.data.operations), first.stage1.wordings)
        settings, operations, wordings = told if stage == 1 else (cell.stage2, cell.operations, cell.wordings)
        data = TrainingData(first.data, operations, first.seed, wordings)
        train(loaded.model, loaded.tokenizer, settings, data, [Objective(1e-4)])
    seen = seen_templates(first, cell)
    assert {name for name, by in seen.items() if "stage1" in by} == drawn[1]
    assert {name for name, by in seen.items() if "stage2" in by} == drawn[2]


def test_a_nursery_sees_every_template_that_is_not_held_out_and_its_batches_no_other() -> None:
    first, cell = units(study(["symbolic"], ["symbolic"]))
    text = {"words": ["add", "multiply"], "training": NurseryTraining()}
    nursery = Pretraining(model_name="m", model=TINY, identity={}, seed=0, data=first.data, **text)
    grown = first.model_copy(update={"nursery": nursery})
    told = seen_templates(grown, cell)
    everything = {one.name for tier in TIERS for one in templates(tier)}
    assert told.keys() == everything - HELD_OUT
    assert all(by.split("+")[0] == "nursery" for by in told.values())
    without = seen_templates(first, cell)
    assert {name: by.removeprefix("nursery+") for name, by in told.items() if by != "nursery"} == without
    drawn = {item.template for step in range(400) for item in NurseryText(first.data, ["add"]).prompts(0, step, 16)}
    assert drawn == told.keys()


@pytest.mark.parametrize("tier", TIERS)
def test_no_training_draws_a_held_out_template_or_held_out_operands(tier: str) -> None:
    for operations in (["multiply", "add"], ["multiply", "add", "subtract"]):
        data = Data(operations=operations)
        task = task_of(data)
        drawn = [
            item
            for seed in range(3)
            for s in range(200)
            for item in task.training_prompts(operations, [tier], seed, s, 8)
        ]
        trainable = {one.name for one in templates(tier) if not one.held_out}
        assert {item.template for item in drawn} == trainable
        fitted = task.fitting_prompts(operations, 500, 0) + task.fitting_prompts(operations, 500, 0, held_out=True)
        assert not HELD_OUT & {item.template for item in fitted}
        tested = task.evaluation_prompts(operations, Evaluation(prompts_per_class=108), 0)
        assert {item.operands for item in drawn}.isdisjoint(item.operands for item in tested)


def test_of_a_custom_task_the_templates_of_its_training_lines_are_seen() -> None:
    plan = read_study(CAPITALS)
    first = next(unit for unit in plan.units if isinstance(unit, StageOne))
    cell = next(unit for unit in plan.units if isinstance(unit, Cell) and unit.layer is not None)
    assert seen_templates(first, cell) == recounted(first, cell, cell.most_steps)
    assert set(seen_templates(first, cell).values()) == {"stage1+stage2"}
    evaluated = task_of(first.data).evaluation_prompts(first.data.operations, cell.evaluation, 0)
    assert {seen_templates(first, cell).get(item.template, NOBODY) for item in evaluated} == {"stage1+stage2", NOBODY}


def test_prompts_are_checked_that_any_batch_up_to_the_last_step_of_a_control_has() -> None:
    _, plain = units(study(["symbolic"], ["story"]))
    first, control = units(study(["symbolic"], ["story"], arm="shuffled_labels"))
    beyond = [
        item.text
        for step in range(4, 13)
        for item in task_of(first.data).training_prompts(control.operations, ["story"], 0, step, 2)
    ]
    assert set(beyond) <= {item.text for item in prompts_of(control)}
    assert not set(beyond) <= {item.text for item in prompts_of(plain)}


def test_prompts_are_checked_that_an_interchange_needs() -> None:
    _, cell = units(study(["symbolic"], ["symbolic"], operations=["multiply", "add", "subtract"]))
    assert cell.intervened == [1]
    assert cell.operations == ["multiply", "add"]
    texts = {item.text for item in prompts_of(cell)}
    task = task_of(cell.stage_one.data)
    evaluated = task.evaluation_prompts(["multiply", "add"], cell.evaluation, 0)
    assert {task.counterfactual(item, "add").text for item in evaluated if item.operation == "multiply"} <= texts
    assert encode(load(TINY).tokenizer, next(iter(prompts_of(cell)))).prompt_ids


def test_the_samples_that_are_foreseen_are_those_that_the_report_decides_on(tmp_path: Path) -> None:
    """Templates, those that no training saw; where there are few, groups, of which a training saw some templates."""
    sounds = {"cat": "meows", "dog": "barks"}
    lines = [
        {
            "prompt": f"{wording} {template} {sounds[operation]} {split} {group} :",
            "answer": sounds[operation],
            "class": operation,
            "wording": wording,
            "template": f"t{template}",
            "group": f"{split} {group}",
            "split": split,
        }
        for wording, templates_there, trained in (("few", 2, 1), ("several", 6, 4), ("other", 2, 0))
        for template in range(templates_there)
        for operation in sounds
        for split in ("train", "test")
        for group in range(9)
        if split == "test" or template < trained
    ]
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    settings = {
        "name": "samples",
        "models": ["tiny-llama"],
        "data": {"file": "lines.jsonl"},
        "grid": {"layers": [1], "pairs": [{"cat": "cat", "dog": "dog"}], "weights": [0.5], "wordings": [["several"]]},
    }
    settings |= {stage: {"steps": 200, "batch_size": 8} for stage in ("stage1", "stage2")}
    settings["stage1"] |= {"wordings": ["few", "several"]}
    (tmp_path / "models.yaml").write_text((CAPITALS.parent / "models.yaml").read_text())
    (tmp_path / "samples.yaml").write_text(yaml.safe_dump(settings))
    (cell,) = (unit for unit in read_study(tmp_path / "samples.yaml").units if isinstance(unit, Cell))
    seen = seen_templates(cell.stage_one, cell)
    asked = task_of(cell.stage_one.data).evaluation_prompts(cell.operations, cell.evaluation, 0)
    columns = ["tier", "template", "operation", "operands"]
    rows = pd.DataFrame([{name: getattr(prompt, name) for name in columns} for prompt in asked])
    rows["seen"] = [seen.get(template, NOBODY) for template in rows["template"]]
    rows = rows.assign(choice=1.0, unit="cell")
    samples = by_sample([rows], ["choice"], ["unit"], few_templates([rows]))
    decided = {tier: int(of.shown(of.rows([("cell",)]))[0].sum()) for tier, of in samples.items()}
    assert samples_by_tier(cell) == decided == {"few": 9, "several": 2, "other": 9}
