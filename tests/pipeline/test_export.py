"""Checkpoints hold the model that was trained, for mlx-lm too: their config.json is the one that it was given."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import yaml
from mlx_lm.utils import load_model

from study.config.catalogue import BuiltSource, Model
from study.config.units import Cell
from study.models import ModelError
from study.models.load import fetch, load_folder
from study.pipeline.export import FUSED, export
from study.pipeline.units import run_unit
from study.plan.read import read_study
from study.results.store import Store

STEPS = {"steps": 1, "batch_size": 2, "learning_rate": 1e-9}
PROMPTS = [
    {"prompt": f"{kind} {n} is", "answer": kind, "class": kind, "split": "train" if n < 4 else "test"}
    for kind in ("sun", "rain")
    for n in range(8)
]


def run(tmp_path: Path, architecture: str, parameters: dict[str, Any]) -> tuple[Cell, Store, Path]:
    """Run a cell on a model whose config.json has the keys of transformers 5; return it, its results and the model."""
    source = BuiltSource(built=architecture, words=["sun", "rain", "is", "warm", "cold"])
    folder = Path(shutil.copytree(fetch(Model(source=source, blocks=2)), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    del config["rope_theta"]
    (folder / "config.json").write_text(json.dumps({**config, "rope_parameters": parameters}))
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"own": {"source": {"folder": str(folder)}, "blocks": 2}}))
    (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, PROMPTS)))
    study = {
        "name": "exported",
        "models": ["own"],
        "grid": {"layers": [1], "pairs": [{"sun": "warm", "rain": "cold"}], "weights": [0.5]},
        "data": {"file": "task.jsonl"},
        "stage1": STEPS,
        "stage2": STEPS,
        "evaluation": {"onset_every": 0, "causal_prompts": 0, "profile_prompts": 2},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    units, store = read_study(tmp_path / "study.yaml").units, Store(tmp_path / "results")
    for unit in units:
        assert run_unit(unit, store.root).state == "done"
    (cell,) = (unit for unit in units if isinstance(unit, Cell))
    return cell, store, folder


def test_a_translated_model_is_exported_as_it_was_given_to_mlx_lm(tmp_path: Path) -> None:
    cell, store, folder = run(tmp_path, "llama", {"rope_type": "default", "rope_theta": 700.0})
    export(cell, store, tmp_path / "out")
    exported, config = load_model(tmp_path / "out" / FUSED)
    assert config["rope_theta"] == 700.0
    ids = mx.array([list(range(3, 20))])
    assert mx.allclose(exported(ids), load_folder(folder, 2).model(ids), atol=1e-4).item()


def test_a_model_that_mlx_lm_alone_would_compute_otherwise_is_not_exported(tmp_path: Path) -> None:
    half = {"rope_type": "default", "rope_theta": 700.0, "partial_rotary_factor": 0.5}
    cell, store, _ = run(tmp_path, "glm", half)
    with pytest.raises(ModelError, match=r"changes own when it is loaded \(.*partial_rotary_factor 0.5 → "):
        export(cell, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
