"""The published experiment's own file as a study of one cell, and its checkpoints as mlx-lm loads them."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest

from study.commands.run import main
from study.config.units import Cell
from study.lens.tokens import encode
from study.models.load import load
from study.pipeline.export import FUSED, STAGE1, STAGE2, export
from study.pipeline.units import run_units
from study.plan.expand import expand
from study.plan.read import ConfigError, read_study
from study.results.store import Store
from study.tasks import task_of

PRINTED = """
stage1:
  method: sft
  max_steps: 500
  lora:
    rank: 16
    alpha: 32.0

stage2:
  method: dual_reward
  max_steps: 500
  learning_rate: 0.00005  # Very low
  classifier_weight: 0.5
  lora:
    rank: 8  # Small
    alpha: 16.0
"""
NAMED = "name: two_stage_classifier\ndescription: as it was\n"
SMALL = PRINTED.replace("max_steps: 500", "max_steps: 6") + "model: tiny-llama\n"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


def _read(folder: Path, text: str) -> Any:
    (folder / "config.yaml").write_text(text)
    return read_study(folder / "config.yaml")


def test_the_file_as_it_was_printed_is_a_study_of_one_cell(tmp_path: Path) -> None:
    plan = _read(tmp_path, NAMED + PRINTED)
    (cell,) = (unit for unit in expand(plan.study, plan.models) if isinstance(unit, Cell))
    assert cell.stage_one.model_name == "tinyllama-1.1b"
    assert (cell.layer, cell.weight, cell.recipe) == (12, 0.5, "corrected")
    assert cell.pair == {"multiply": "multiply", "add": "add", "subtract": "subtract"}
    first, second = cell.stage_one.stage1, cell.stage2
    assert (first.steps, first.batch_size, first.lora.rank, first.lora.scale) == (500, 4, 16, 2.0)
    assert (second.steps, second.batch_size, second.learning_rate, second.lora.rank) == (500, 1, 5e-5, 8)
    assert second.lora.projections == ["v_proj", "o_proj"]


def test_depth_targets_seed_and_recipe_are_taken_from_wherever_they_stand(tmp_path: Path) -> None:
    more = (
        "parameters: {classifier_layer_pct: 0.3, seed: 7}\nclassifier_targets: [multiply, add]\nrecipe: as-published\n"
    )
    plan = _read(tmp_path, NAMED + PRINTED + more)
    (cell,) = (unit for unit in expand(plan.study, plan.models) if isinstance(unit, Cell))
    assert (cell.layer, cell.stage_one.seed, cell.recipe) == (6, 7, "as-published")
    assert cell.pair == {"multiply": "multiply", "add": "add"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("method: sft", "method: grpo"), "stage1.method: input should be 'sft' (given: 'grpo')"),
        (
            ("classifier_weight", "clasifier_weight"),
            "stage2.clasifier_weight: unknown key; did you mean 'classifier_weight'?",
        ),
        (("rank: 8", "dropout: 0.1"), "stage2.lora.dropout: input should be less than or equal to 0"),
        (
            ("description: as it was", "model: nobody/Nothing"),
            "model: 'nobody/Nothing' is neither a name nor a hub repository",
        ),
        (("description: as it was", "classifier_targets: {divide: divide}"), "classifier_targets.divide"),
    ],
)
def test_mistakes_are_told_in_the_words_of_that_file(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        _read(tmp_path, (NAMED + PRINTED).replace(*change))
    assert told in str(error.value)


@pytest.mark.slow
def test_exported_checkpoints_are_what_mlx_lm_loads_and_give_the_trained_models_logits(tmp_path: Path) -> None:
    from study.training import adapters

    plan = _read(tmp_path, NAMED + SMALL)
    units = expand(plan.study, plan.models)
    store = Store(tmp_path / "results")
    assert {run_units([unit], store.root)[0].state for unit in units} == {"done"}
    cell = units[-1]
    assert isinstance(cell, Cell)
    export(cell, store, tmp_path / "out")
    model, _ = mlx_lm.load(str(tmp_path / "out" / FUSED), adapter_path=str(tmp_path / "out" / STAGE2))[:2]
    ours = load(cell.stage_one.model)
    for unit, lora in ((cell.stage_one, cell.stage_one.stage1.lora), (cell, cell.stage2.lora)):
        adapters.put(ours.model, lora, adapters.load(store.folder(unit)))
        adapters.fuse(ours.model)
    ids = mx.array([encode(ours.tokenizer, task_of(plan.study.data).probe()[0]).prompt_ids])
    np.testing.assert_allclose(np.array(model(ids)), np.array(ours.model(ids)), atol=1e-4)
    base, _ = mlx_lm.load(str(ours.path), adapter_path=str(tmp_path / "out" / STAGE1))[:2]
    fused, _ = mlx_lm.load(str(tmp_path / "out" / FUSED))[:2]
    np.testing.assert_allclose(np.array(base(ids)), np.array(fused(ids)), atol=1e-4)


@pytest.mark.parametrize(("place", "told"), [("out", "the folder is not empty"), ("results/out", "lies among results")])
def test_nothing_is_exported_over_other_files_or_among_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, told: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    only = ["--only", "weight=0.5", "--results", str(tmp_path / "results")]
    assert main(["configs/smoke.yaml", *only, "--export", str(tmp_path / place)]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_export_of_several_cells_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["configs/smoke.yaml", "--export", str(tmp_path / "out"), "--results", str(tmp_path / "results")])
    assert code == 2
    assert (
        "--export writes the checkpoints of one cell, and 2 are chosen: pick one with --only" in capsys.readouterr().err
    )
    assert not (tmp_path / "results").exists()
