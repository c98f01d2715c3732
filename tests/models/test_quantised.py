"""Models whose weights stay quantised, from loading to a whole study: against the same weights written out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pandas as pd
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.lora import LoRALinear
from mlx_lm.utils import dequantize_model, load_model, quantize_model, save_config

from analysis.data.results import read_results
from analysis.text.models_and_outcomes import model_row
from study.config.catalogue import BuiltSource, FolderSource, Model
from study.config.stages import Lora, Stage1
from study.config.study import Study
from study.config.units import Cell, Predictors, Reference
from study.lens.head import head_of
from study.lens.hooks import attached
from study.models import ModelError, quantized_matmul
from study.models import load as loading
from study.models.quantised import held_as, held_gb
from study.pipeline import gates
from study.pipeline.units import run_unit, run_units
from study.plan.expand import expand
from study.results.description import write_description
from study.results.store import Store
from study.training import adapters

MakeStudy = Callable[..., Study]

ALL = Lora(rank=4, alpha=8.0, projections="all")
VALUE_OUTPUT = Lora(rank=2, alpha=4.0, projections=["v_proj", "o_proj"])
V_PROJ = "model.layers.0.self_attn.v_proj"


def tiny_model(held: Any, built: str = "llama", **sizes: int) -> Model:
    return Model(source=BuiltSource(built=built, **sizes), blocks=2, weights=held)


def load(held: Any, built: str = "llama", **sizes: int) -> nn.Module:
    return loading.load(tiny_model(held, built, **sizes)).model


def some_ids(batch: int = 2) -> mx.array:
    return mx.random.randint(3, 90, (batch, 7), key=mx.random.key(1))


def drawn(model: nn.Module, lora: Lora, seed: int = 0, size: float = 0.1) -> adapters.Weights:
    """An adapter whose update is not zero."""
    shapes = adapters.shapes(model, lora)
    keys = mx.random.split(mx.random.key(seed), len(shapes))
    return {name: size * mx.random.normal(shapes[name], key=key) for name, key in zip(shapes, keys, strict=True)}


def stack_of(model: nn.Module, lora: Lora, cells: list[adapters.Weights]) -> None:
    """These adapters side by side."""
    adapters.stack(model, lora, [0] * len(cells))
    model.update(tree_unflatten([(name, mx.stack([cell[name] for cell in cells])) for name in cells[0]]))


def written_out(held: str, built: str = "llama") -> nn.Module:
    """The quantised model with its matrices in float32, by mlx-lm."""
    model = dequantize_model(load(held, built))
    model.freeze()
    return model


def quantised_folder(tmp_path: Path, **how: Any) -> Path:
    """As `mlx_lm.convert` writes it."""
    folder = tmp_path / "quantised"
    shutil.copytree(loading.fetch(tiny_model("float32")), folder)
    model, config = load_model(folder)
    model, config = quantize_model(model, config, group_size=how.pop("group_size", 32), bits=how.pop("bits", 4), **how)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    save_config(config, folder / "config.json")
    return folder


def assert_same(one: mx.array, other: mx.array, limit: float = 1e-5) -> None:
    np.testing.assert_allclose(one, other, atol=limit * float(mx.abs(other).max().item()))


@pytest.mark.parametrize(("held", "bits", "share"), [("8bit", 8, 0.32), ("4bit", 4, 0.2)])
def test_weights_are_quantised_as_mlx_lm_does_it_and_take_a_fraction_of_the_memory(
    held: str, bits: int, share: float
) -> None:
    model = load(held)
    plain, config = load_model(loading.fetch(tiny_model("float32")))
    theirs, _ = quantize_model(plain, config, group_size=64, bits=bits)
    ours = dict(tree_flatten(model.parameters()))
    assert ours.keys() == dict(tree_flatten(theirs.parameters())).keys()
    assert all(mx.array_equal(value, ours[name]) for name, value in tree_flatten(theirs.parameters()))
    assert held_as(model) == f"{bits} bit"
    assert held_gb(model) < share * held_gb(load("float32"))
    assert tree_flatten(model.trainable_parameters()) == []


@pytest.mark.parametrize("built", ["llama", "gemma3_text", "qwen3_moe"])
@pytest.mark.parametrize("held", ["8bit", "4bit"])
def test_a_quantised_model_computes_in_float32_what_its_written_out_weights_compute(held: str, built: str) -> None:
    model, plain = load(held, built), written_out(held, built)
    assert model(some_ids()).dtype == mx.float32
    assert_same(model(some_ids()), plain(some_ids()), 1e-4)
    assert gates.lens_gate(model, some_ids()).passed


def test_what_a_folder_has_quantised_stays_so_or_is_written_out(tmp_path: Path) -> None:
    source = FolderSource(folder=str(quantised_folder(tmp_path)))
    stored = loading.load(Model(source=source, blocks=2, weights="4bit")).model
    plain = loading.load(Model(source=source, blocks=2)).model
    assert (held_as(stored), held_as(plain)) == ("4 bit", "float32")
    assert_same(stored(some_ids()), plain(some_ids()), 1e-4)


def test_a_format_without_offsets_computes_in_float32_too(tmp_path: Path) -> None:
    source = FolderSource(folder=str(quantised_folder(tmp_path, mode="mxfp4")))
    stored = loading.load(Model(source=source, blocks=2, weights="4bit")).model
    plain = loading.load(Model(source=source, blocks=2)).model
    assert held_as(plain) == "float32"
    assert held_as(stored) == "4 bit (mxfp4) (14 matrices), float32 (1 matrices)"
    assert stored(some_ids()).dtype == plain(some_ids()).dtype == mx.float32
    assert_same(stored(some_ids()), plain(some_ids()), 1e-4)


def test_bits_that_a_folder_does_not_have_are_refused_with_what_to_write(tmp_path: Path) -> None:
    folder = FolderSource(folder=str(quantised_folder(tmp_path)))
    with pytest.raises(ModelError, match=r"with 4 bits, not 8: write `weights: 4bit` or `weights: float32`$"):
        loading.load(Model(source=folder, blocks=2, weights="8bit"))


def test_bits_that_no_setting_has_can_be_written_out(tmp_path: Path) -> None:
    folder = FolderSource(folder=str(quantised_folder(tmp_path, bits=6)))
    with pytest.raises(ModelError, match=r"with 6 bits, not 4: write `weights: float32`$"):
        loading.load(Model(source=folder, blocks=2, weights="4bit"))
    assert held_as(loading.load(Model(source=folder, blocks=2)).model) == "float32"


def test_a_model_that_is_too_narrow_for_a_group_is_refused() -> None:
    with pytest.raises(ModelError, match="no layer whose width is a multiple of 64"):
        load("4bit", hidden_size=32, intermediate_size=96)


def test_a_layer_whose_width_is_no_multiple_of_a_group_stays_in_float32_and_that_is_told() -> None:
    assert held_as(load("4bit", intermediate_size=96)) == "4 bit (13 matrices), float32 (2 matrices)"


@pytest.mark.parametrize(("bits", "mode", "group_size"), [(4, "affine", 64), (8, "affine", 32), (4, "mxfp4", 32)])
def test_products_on_a_cpu_equal_those_of_mlx_and_of_the_written_out_matrix(
    bits: int, mode: str, group_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized_matmul, "AT_ONCE", 1000)  # of 64 · 40 values: in parts
    matrix = mx.random.normal((40, 64), key=mx.random.key(0))
    packed, scales, *biases = mx.quantize(matrix, group_size, bits, mode)
    format = {"group_size": group_size, "bits": bits, "mode": mode}
    values = np.array(mx.dequantize(packed, scales, *biases, **format, dtype=mx.float32), np.float64)
    x, weight = mx.random.normal((2, 5, 64), key=mx.random.key(1)), mx.random.normal((2, 5, 40), key=mx.random.key(2))

    def value(x: mx.array, product: Any) -> mx.array:
        return (weight * product(x, packed, scales, *biases, transpose=True, **format)).sum()

    for product in (quantized_matmul.quantized_matmul, quantized_matmul._quantized_matmul):
        y = product(x, packed, scales, *biases, transpose=True, **format)
        np.testing.assert_allclose(y, np.array(x, np.float64) @ values.T, atol=1e-4)
        gradient = mx.grad(value)(x, product)
        np.testing.assert_allclose(gradient, np.array(weight, np.float64) @ values, atol=1e-4)


@pytest.mark.parametrize("held", ["8bit", "4bit"])
def test_gradients_of_adapters_are_those_on_the_written_out_weights(held: str) -> None:
    quantised, plain = load(held), written_out(held)
    cells = [drawn(plain, ALL, seed) for seed in (0, 1)]
    ours, theirs = (gradients(model, cells) for model in (quantised, plain))
    assert ours.keys() == theirs.keys() == cells[0].keys()
    for name, gradient in theirs.items():
        assert float(mx.abs(gradient).max().item()) > 0, name
        assert_same(ours[name], gradient, 1e-4)


def gradients(model: nn.Module, cells: list[adapters.Weights]) -> dict[str, mx.array]:
    """Of a random function of the logits, by the stacked adapters."""
    stack_of(model, ALL, cells)
    weight = mx.random.normal(model(some_ids(4)).shape, key=mx.random.key(5))
    _, found = nn.value_and_grad(model, lambda: (weight * model(some_ids(4))).mean())()
    return dict(tree_flatten(found))


@pytest.mark.parametrize("held", ["8bit", "4bit"])
@pytest.mark.parametrize("frozen_below", [False, True], ids=["plain", "above a kept adapter"])
def test_each_cell_of_a_stack_on_quantised_weights_computes_what_its_adapter_computes_alone(
    held: str, frozen_below: bool
) -> None:
    model, ids = load(held), some_ids()
    if frozen_below:
        adapters.put(model, ALL, drawn(model, ALL, 7))
        adapters.freeze(model)
    cells = [drawn(model, VALUE_OUTPUT, seed) for seed in (0, 1)]
    stack_of(model, VALUE_OUTPUT, cells)
    together = model(mx.tile(ids, (2, 1))).reshape(2, *ids.shape, -1)
    assert float(mx.abs(together[0] - together[1]).max().item()) > 1e-2
    taken = adapters.unstack(model)
    for of_stack, cell, weights_of in zip(together, cells, taken, strict=True):
        assert all(mx.array_equal(weights_of[name], value) for name, value in cell.items())
        adapters.put(model, VALUE_OUTPUT, cell)
        assert_same(model(ids), of_stack)
        adapters.take_off(model)


def test_taking_stage_2_off_leaves_the_kept_stage_1_bit_by_bit(tmp_path: Path) -> None:
    model = load("4bit")
    base = model(some_ids())
    adapters.put(model, ALL, drawn(model, ALL, 7))
    adapters.freeze(model)
    before, after_stage_one = dict(tree_flatten(model.parameters())), model(some_ids())
    assert float(mx.abs(after_stage_one - base).max().item()) > 1e-2
    assert tree_flatten(model.trainable_parameters()) == []
    of_stage_two = drawn(model, VALUE_OUTPUT, 3)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in of_stage_two} == {"v_proj", "o_proj"}
    for how in ("put", "stack"):
        if how == "put":
            adapters.put(model, VALUE_OUTPUT, of_stage_two)
            assert float(mx.abs(model(some_ids()) - after_stage_one).max().item()) > 1e-2
        else:
            adapters.stack(model, VALUE_OUTPUT, [0, 1])
            trained = dict(tree_flatten(model.trainable_parameters()))
            assert trained.keys() == of_stage_two.keys()
            assert set(adapters.blocks_of(model)) == {name.rpartition(".")[0] for name in trained}
        adapters.take_off(model)
        after = dict(tree_flatten(model.parameters()))
        assert before.keys() == after.keys()
        assert all(mx.array_equal(before[name], after[name]) for name in before)
    adapters.save(model, VALUE_OUTPUT, of_stage_two, tmp_path)
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    assert config["lora_parameters"]["keys"] == ["self_attn.o_proj", "self_attn.v_proj"]


@pytest.mark.parametrize("held", ["float32", "8bit", "4bit"])
def test_stage_1_fused_equals_stage_1_kept_and_only_what_it_adapted_is_written_out(held: str) -> None:
    fused, kept = load(held), load(held)
    bytes_before = held_gb(fused)
    adapter = drawn(fused, VALUE_OUTPUT, 7)
    for model, gate in ((fused, gates.fused_gate), (kept, lambda m, ids: gates.kept_gate(m, ALL, ids))):
        adapters.put(model, VALUE_OUTPUT, adapter)
        assert gate(model, some_ids()).figure < 1e-5
    assert_same(fused(some_ids()), kept(some_ids()), 1e-4)
    if held != "float32":
        layers = dict(fused.named_modules())
        assert type(layers[V_PROJ]) is nn.Linear
        assert type(layers[V_PROJ.replace("v_proj", "q_proj")]) is nn.QuantizedLinear
        assert held_gb(kept) < held_gb(fused)
        assert held_gb(kept) - bytes_before == pytest.approx(sum(v.nbytes for v in adapter.values()) / 1e9)


def test_the_gate_of_a_kept_adapter_finds_one_that_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("4bit")
    adapters.put(model, ALL, drawn(model, ALL))
    monkeypatch.setattr(adapters, "freeze", adapters.take_off)
    assert not gates.kept_gate(model, ALL, some_ids()).passed


@pytest.mark.parametrize(("held", "lost"), [("8bit", 0.2), ("4bit", 0.9)])
def test_quantising_a_fused_layer_again_loses_an_update_of_the_size_that_training_makes(held: str, lost: float) -> None:
    """Which is why it is never done. The update has 1 % of the norm of the weights."""
    model = load(held)
    adapters.put(model, VALUE_OUTPUT, drawn(model, VALUE_OUTPUT, 7))
    layer = dict(model.named_modules())[V_PROJ]
    assert isinstance(layer, LoRALinear)
    before = np.array(adapters.written_out(layer.linear).weight, np.float64)
    update = np.array((layer.scale * layer.lora_a @ layer.lora_b).T, np.float64)
    shrink = 0.01 * np.linalg.norm(before) / np.linalg.norm(update)
    layer.lora_b, update = layer.lora_b * shrink, update * shrink
    again = np.array(adapters.written_out(layer.fuse()).weight, np.float64) - before
    adapters.fuse(model)
    ours = np.array(dict(model.named_modules())[V_PROJ].weight, np.float64) - before
    assert np.linalg.norm(ours - update) / np.linalg.norm(update) < 1e-4
    assert np.linalg.norm(again - update) / np.linalg.norm(update) > lost


@pytest.mark.parametrize("built", ["llama", "gemma3_text", "gpt2"])
def test_the_rows_of_a_quantised_head_are_those_of_the_written_out_one(built: str) -> None:
    rows = []
    for model in (load("4bit", built), written_out("4bit", built)):
        with attached(model) as lens:
            lens.hidden(some_ids())
            head = head_of(model, lens, mx.zeros((1, 64)))
        rows.append((head.rows(mx.array([5, 90])), head.tied))
    (ours, tied), (theirs, tied_too) = rows
    assert tied == tied_too
    assert mx.array_equal(ours, theirs)


def run_study(study: Study, model: Model, results: Path) -> tuple[Store, list[Any], dict[str, Any]]:
    """The cells side by side; what `done.json` says of each unit."""
    units = expand(study, {"tiny-llama": model})
    cells = [unit for unit in units if isinstance(unit, Cell)]
    outcomes = [run_unit(unit, results) for unit in units if unit not in cells] + run_units(cells, results)
    assert [outcome.state for outcome in outcomes] == ["done"] * len(units), outcomes
    store = Store(results)
    write_description(
        store.root, study.name, study.model_dump(mode="json"), {"tiny-llama": model.model_dump(mode="json")}, units
    )
    return store, units, {unit.id: json.loads((store.folder(unit) / "done.json").read_text()) for unit in units}


@pytest.mark.slow
@pytest.mark.parametrize("held", ["8bit", "4bit"])
def test_a_whole_study_runs_on_quantised_weights_and_reads_the_same_with_stage_1_fused_or_kept(
    held: str, tiny_study: MakeStudy, tmp_path: Path
) -> None:
    read, biggest = [], []
    for fuse, stage1, gate in (
        ("auto", "kept as a frozen adapter", "model with stage 1 kept equals the adapted one"),
        ("always", "fused in float32", "fused model equals the adapted one"),
    ):
        settings: Any = Stage1(steps=8, batch_size=4, learning_rate=1e-2, warmup_steps=0, fuse=fuse)
        store, units, done = run_study(tiny_study(stage1=settings), tiny_model(held), tmp_path / fuse)
        for unit in units:
            told = done[unit.id]
            assert (told["held"]["weights"], told["held"]["stage1"]) == (held.replace("bit", " bit"), stage1)
            assert {"last-layer lens equals the logits", gate} <= {one["gate"] for one in told["gates"]}
            assert all(one["passed"] for one in told["gates"])
        row = model_row(read_results(store.root), "tiny-llama")
        assert row[4:6] == [f"{told['held']['weights']}, {told['held']['gb']:.2g} GB", f"finished, {stage1}"]
        biggest.append(max(told["held"]["gb"] for told in done.values()))
        by_kind = {type(unit): store.folder(unit) for unit in units}
        curve = pd.read_parquet(by_kind[Cell] / "curves.parquet")
        assert curve.class_loss.iloc[-3:].mean() < curve.class_loss.iloc[:3].mean()
        predicted = pd.read_parquet(by_kind[Predictors] / "predictors.parquet")
        assert np.isfinite(predicted[["unembedding_norm", "direction_cosine", "gradient_cosine"]]).all(axis=None)
        read.append(pd.read_parquet(by_kind[Reference] / "lens.parquet"))
    kept, fused = read
    np.testing.assert_allclose(kept[["log_p", "margin"]], fused[["log_p", "margin"]], atol=1e-3)
    before, after = (kept[kept.stage == stage].log_p for stage in ("baseline", "stage1"))
    assert not np.allclose(before, after, atol=0.1)
    assert biggest[0] < biggest[1]
