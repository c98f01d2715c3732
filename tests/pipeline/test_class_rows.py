"""Cells whose class tokens have other rows of the unembedding, run whole."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest
import yaml
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from study.config.arms import ARMS
from study.config.units import Cell
from study.lens.tokens import class_tokens
from study.models.load import load
from study.pipeline import held_model
from study.pipeline.class_rows import class_rows_of_arm
from study.pipeline.export import FUSED, export
from study.pipeline.units import run_units, run_with_foundations
from study.plan.read import read_study
from study.plan.stacks import stack_key
from study.results.store import Store

ARMED = [name for name, arm in ARMS.items() if arm.class_rows != "own"]
LAYER = 2


def study(tmp_path: Path, arms: list[str]) -> list[Cell]:
    """The cells of a study of these arms, of two weights, on a tiny model."""
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"tiny": {"source": {"built": "llama"}, "blocks": 4}}))
    content: dict[str, Any] = {
        "name": "rows",
        "models": ["tiny"],
        "grid": {
            "layers": [LAYER],
            "pairs": [{"multiply": "multiply", "add": "add"}],
            "weights": [0.5, 0.8],
            "arms": arms,
        },
        "stage1": {"steps": 1},
        "stage2": {"steps": 12, "warmup_steps": 0, "learning_rate": 2e-3},
        "evaluation": {"onset_every": 0, "causal_prompts": 0, "profile_prompts": 2, "prompts_per_class": 2},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    return [unit for unit in read_study(tmp_path / "study.yaml").units if isinstance(unit, Cell)]


def test_they_stack_with_cells_of_the_same_rows_alone(tmp_path: Path) -> None:
    cells = study(tmp_path, ["plain", *ARMED])
    keys = {(cell.arm, cell.weight): stack_key(cell) for cell in cells}
    assert all(keys[arm, 0.5] == keys[arm, 0.8] for arm in ("plain", *ARMED))
    assert len(set(keys.values())) == 1 + len(ARMED)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMED)
def test_the_rows_are_there_while_a_cell_trains_and_no_longer_and_in_its_checkpoint(tmp_path: Path, arm: str) -> None:
    cells, store = study(tmp_path, [arm]), Store(tmp_path / "results")
    for _, ending in run_with_foundations(cells[0].stage_one, store.root):
        assert ending.state == "done"
    held = held_model.with_stage_one(cells[0].stage_one, store, [], [])
    before = {name: np.array(value) for name, value in tree_flatten(held.model.parameters())}
    assert [one.state for one in run_units(cells, store.root)] == ["done"] * 2
    held = held_model.with_stage_one(cells[0].stage_one, store, [], [])
    for name, value in tree_flatten(held.model.parameters()):
        np.testing.assert_array_equal(np.array(value), before[name])
    curve = pd.read_parquet(store.folder(cells[0]) / "curves.parquet")
    assert set(curve.stacked) == {2}

    # The first class loss, again: of the rows that the export holds, on the model without an adapter.
    tokens = class_tokens(held.tokenizer, cells[0].readouts[0])
    ids = [token.id for token in tokens.values()]
    with class_rows_of_arm(held.model, held.tokenizer, cells[0], [(cells[0].readouts[0], tokens)]):
        within = np.array(held.model.model.embed_tokens.weight[mx.array(ids)])
    export(cells[0], store, tmp_path / "out")
    exported, _ = load_model(tmp_path / "out" / FUSED)
    weight = np.array(exported.model.embed_tokens.weight)
    np.testing.assert_array_equal(weight[ids], within)
    others = np.setdiff1d(np.arange(len(weight)), ids)
    own = np.array(load(cells[0].stage_one.model).model.model.embed_tokens.weight)
    np.testing.assert_array_equal(weight[others], own[others])
    assert not np.allclose(weight[ids], own[ids])
    np.testing.assert_allclose(np.linalg.norm(weight[ids], axis=1), np.linalg.norm(own[ids], axis=1), rtol=1e-5)
    np.testing.assert_allclose(within[0], -within[1] * np.linalg.norm(within[0]) / np.linalg.norm(within[1]), rtol=1e-3)


@pytest.mark.slow
def test_the_text_that_cells_are_held_against_is_the_same_in_whatever_order_they_run(tmp_path: Path) -> None:
    cells = {cell.arm: cell for cell in study(tmp_path, ["plain", "aligned_rows"]) if cell.weight == 0.5}
    told = []
    for number, arms in enumerate((["plain", "aligned_rows"], ["aligned_rows", "plain"])):
        store = Store(tmp_path / str(number))
        held_model.clear()
        for arm in arms:  # in one process, which keeps what it holds
            (*_, (_, ending)) = run_with_foundations(cells[arm], store.root)
            assert ending.state == "done"
        done = {arm: json.loads((store.folder(cell) / "done.json").read_text()) for arm, cell in cells.items()}
        told.append({arm: one["text_kl"]["stage2"] for arm, one in done.items()})
    assert told[0] == pytest.approx(told[1], rel=1e-4)
