"""Checkpoints hold the model that was trained, for mlx-lm too: their config.json is the one that it was given."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import yaml
from gguf import GGMLQuantizationType, GGUFReader
from mlx_lm.utils import load, load_model

from study.config.catalogue import BuiltSource, Model
from study.config.units import Cell
from study.lens.hooks import attached
from study.models import ModelError
from study.models.load import fetch, load_folder
from study.pipeline.export import DIRECTIONS, FUSED, STAGE2, export
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


def test_class_directions_are_those_of_the_exported_model_and_load_elsewhere(tmp_path: Path) -> None:
    cell, store, _ = run(tmp_path, "llama", {"rope_type": "default", "rope_theta": 700.0})
    export(cell, store, tmp_path / "out")
    folder = tmp_path / "out" / DIRECTIONS
    tensors, about = mx.load(str(folder / "directions.safetensors"), return_metadata=True)
    assert (about["layer"], about["id"], about["prompts"]) == ("1", cell.id, "8")
    # From the checkpoints alone, as mlx-lm loads them.
    model, tokenizer = load(str(tmp_path / "out" / FUSED), adapter_path=str(tmp_path / "out" / STAGE2))
    states: list[np.ndarray] = []
    means = {}
    with attached(model) as lens:
        for kind in ("sun", "rain"):
            ids = [mx.array([tokenizer.encode(f"{kind} {n} is")]) for n in range(4)]
            states = [np.array(lens.hidden(one)[1][0, -1], np.float64) for one in ids]
            means[kind] = np.mean(states, axis=0)
    np.testing.assert_allclose(np.array(tensors["shift.sun"]), means["sun"] - means["rain"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.array(tensors["shift.rain"]), -np.array(tensors["shift.sun"]), rtol=1e-5)
    for name in ("lens.sun/rain", "lens.rain/sun"):
        assert float(mx.linalg.norm(tensors[name])) == pytest.approx(1, rel=1e-5)
    page = (folder / "README.md").read_text()
    assert "block 1, 0-based, of 2, at the last token of 8 training prompts" in " ".join(page.split())
    assert "sun: ' warm', rain: ' cold'" in page


def test_control_vectors_have_the_layout_that_llama_cpp_reads(tmp_path: Path) -> None:
    cell, store, _ = run(tmp_path, "llama", {"rope_type": "default", "rope_theta": 700.0})
    export(cell, store, tmp_path / "out")
    folder = tmp_path / "out" / DIRECTIONS
    tensors = mx.load(str(folder / "directions.safetensors"))
    for kind in ("sun", "rain"):
        reader = GGUFReader(folder / f"{kind}.gguf")
        assert reader.fields["general.architecture"].contents() == "controlvector"
        assert reader.fields["controlvector.model_hint"].contents() == "llama"
        (tensor,) = reader.tensors
        # 1-D, float32, and named by the 0-based index of a block that is not the first.
        assert (tensor.name, tensor.tensor_type, len(tensor.shape)) == ("direction.1", GGMLQuantizationType.F32, 1)
        np.testing.assert_array_equal(tensor.data, np.array(tensors[f"shift.{kind}"]))
