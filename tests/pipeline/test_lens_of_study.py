"""A study that trains and reads classes by a fitted lens: whole units, against a computation in numpy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest
from mlx_lm.utils import load

from analysis.report import write_report
from study.config.catalogue import Model
from study.config.grid import Grid
from study.config.lenses import LensFitting
from study.config.stages import Lora, Stage2
from study.config.study import Study
from study.config.units import Cell, Reference, StageOne, Unit
from study.lens.hooks import attached
from study.lens.translators import Translators, load_translators
from study.pipeline import fitted_lenses, held_model
from study.pipeline.export import DIRECTIONS, FUSED, STAGE2, TRANSLATORS, export
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.description import write_description
from study.results.store import Store

pytestmark = pytest.mark.slow

FITTING = LensFitting(texts=8, held_out=2, tokens=12, steps=8, positions=32, jacobian_texts=2, jacobian_tokens=8)
STAGE_2 = Stage2(steps=60, learning_rate=3e-3, lora=Lora(rank=4, alpha=8.0, projections="all"))
LAYER = 1
HIDDEN = 64
Finished = tuple[Study, dict[str, Unit], Store]


@pytest.fixture(scope="module", params=["tuned", "jacobian"])
def finished(request: Any, tiny: Model, tiny_study: Callable[..., Study], tmp_path_factory: Any) -> Finished:
    """A study of all kinds of units, whose lens is fitted."""
    grid = Grid(layers=[LAYER], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.0, 0.5])
    study = tiny_study(grid=grid, lens=request.param, lens_fitting=FITTING, stage2=STAGE_2)
    units = expand(study, {"tiny-llama": tiny})
    store = Store(tmp_path_factory.mktemp("results"))
    write_description(
        store.root, study.name, study.model_dump(mode="json"), {"tiny-llama": tiny.model_dump(mode="json")}, units
    )
    for unit in units:
        ending = run_unit(unit, store.root)
        assert ending.state == "done", ending.reason
    return study, {unit.label: unit for unit in units}, store


def only(finished: Finished, wanted: Callable[[Unit], bool]) -> Any:
    (unit,) = filter(wanted, finished[1].values())
    return unit


def cell_of(finished: Finished) -> Cell:
    cell: Cell = only(finished, lambda unit: isinstance(unit, Cell) and unit.layer is not None)
    return cell


def class_log_p(model: Any, ids: list[int], layer: int, maps: mx.array, biases: mx.array, token: int) -> float:
    """The translator in numpy, then the model's own norm and head."""
    with attached(model) as lens:
        state = np.array(lens.hidden(mx.array([ids]))[layer][0, -1], np.float64)
        moved = np.array(maps[layer], np.float64) @ state + np.array(biases[layer], np.float64)
        logits = np.array(lens.read_out(mx.array(moved[None].astype(np.float32))))[0].astype(np.float64)
    return float(logits[token] - np.log(np.exp(logits).sum()))


def test_rows_of_a_cell_are_those_of_its_exported_checkpoints_and_lens(finished: Finished, tmp_path: Path) -> None:
    cell, store = cell_of(finished), finished[2]
    export(cell, store, tmp_path)
    model, tokenizer = load(str(tmp_path / FUSED), adapter_path=str(tmp_path / STAGE2))
    lens = load_translators(tmp_path / TRANSLATORS)
    assert lens.kind == finished[0].lens
    folder = store.folder(cell)
    rows = pd.read_parquet(folder / "lens.parquet").merge(pd.read_parquet(folder / "answers.parquet"), on="prompt_id")
    (tokens,) = json.loads((folder / "done.json").read_text())["tokens"].values()
    asked = rows.drop_duplicates(["tier_x", "operation_x", "layer"])
    assert set(asked["layer"]) == set(range(4))
    for row in asked.itertuples():
        ids = tokenizer.encode(row.prompt)
        told = class_log_p(model, ids, row.layer, lens.maps, lens.biases, tokens[row.operation_x]["id"])
        assert row.log_p == pytest.approx(told, abs=2e-3), row
    # By the logit lens they would be others, except at the last block, whose map is the identity.
    plain = [
        class_log_p(
            model, tokenizer.encode(row.prompt), LAYER, mx.stack([mx.eye(HIDDEN)] * 4), mx.zeros((4, HIDDEN)), token
        )
        for row in asked.itertuples()
        if row.layer == LAYER and (token := tokens[row.operation_x]["id"])
    ]
    assert not np.allclose(plain, asked[asked["layer"] == LAYER]["log_p"], atol=2e-3)


def test_the_class_is_trained_through_the_lens(finished: Finished) -> None:
    cell, store = cell_of(finished), finished[2]
    curve = pd.read_parquet(store.folder(cell) / "curves.parquet")["class_loss"]
    assert curve.iloc[-5:].mean() < 0.2 * curve.iloc[0]
    # The first loss is that of the model after stage 1, which the reference read through the same lens.
    reference = only(finished, lambda unit: isinstance(unit, Reference))
    rows = pd.read_parquet(store.folder(reference) / "lens.parquet")
    here = rows[(rows["stage"] == "stage1") & (rows["layer"] == LAYER) & (rows["tier"] == "symbolic")]
    assert curve.iloc[0] == pytest.approx(-here["log_p"].mean(), rel=0.25)
    onset = pd.read_parquet(store.folder(cell) / "onset.parquet")
    read = onset[(onset["layer"] == LAYER) & (onset["tier"] == "symbolic")].sort_values("step")["p"]
    assert read.iloc[-1] > 0.5 > read.iloc[0]


def test_the_direction_of_an_export_is_the_gradient_through_the_lens(finished: Finished, tmp_path: Path) -> None:
    cell, store = cell_of(finished), finished[2]
    export(cell, store, tmp_path)
    tensors = mx.load(str(tmp_path / DIRECTIONS / "directions.safetensors"))
    assert np.linalg.norm(np.array(tensors["lens.multiply/add"])) == pytest.approx(1, rel=1e-5)
    held_model.clear()
    model, _ = load(str(tmp_path / FUSED), adapter_path=str(tmp_path / STAGE2))
    lens, direction = load_translators(tmp_path / TRANSLATORS), np.array(tensors["lens.multiply/add"], np.float64)
    tokens = next(iter(json.loads((store.folder(cell) / "done.json").read_text())["tokens"].values()))
    ids = [tokens[name]["id"] for name in ("multiply", "add")]
    maps, biases = lens.maps, lens.biases
    ascents = []
    with attached(model) as plain:
        state = np.array(plain.hidden(mx.array([[5, 6, 7]]))[LAYER][0, -1])
        for way in (direction, np.random.default_rng(0).standard_normal(HIDDEN)):
            unit = way / np.linalg.norm(way)
            both = np.stack([state + 1e-2 * unit, state - 1e-2 * unit]).astype(np.float32)
            moved = mx.array(both) @ maps[LAYER].T + biases[LAYER]
            logits = np.array(plain.read_out(moved))
            rises = (logits[0] - logits[1])[ids]
            ascents.append(rises[0] - rises[1])
    assert ascents[0] > 3 * abs(ascents[1])


def test_how_the_lens_was_fitted_is_recorded_and_reported(finished: Finished, tmp_path: Path) -> None:
    study, _, store = finished
    first: StageOne = only(finished, lambda unit: isinstance(unit, StageOne))
    told = json.loads((store.folder(first) / "done.json").read_text())["lens"]
    assert told["kind"] == study.lens
    assert len(told["kl"]) == len(told["kl_logit"]) == len(told["kl_neutral"]) == 4
    write_report(store.root, tmp_path / "report.md")
    text = " ".join((tmp_path / "report.md").read_text().split())
    name = {"tuned": "tuned lens", "jacobian": "Jacobian lens"}[study.lens]
    assert f"in the lens (the {name}: the model's own final norm and head, after an affine map of the layer" in text
    assert f"How far the {name} is from the model's own prediction after stage 1" in text
    table = pd.read_csv(next((tmp_path / "report").glob("table_lens_fits.csv*")))
    held_out = table[table["text"] == "held_out"]
    assert held_out["kl"].tolist() == pytest.approx(told["kl"], rel=1e-4)
    assert held_out["kl_logit"].iloc[-1] == pytest.approx(0, abs=1e-5)


def test_a_cell_begins_from_the_lens_of_its_stage_one_whatever_the_process_held(finished: Finished) -> None:
    cell, store = cell_of(finished), finished[2]
    folder = store.folder(cell)
    before = pd.read_parquet(folder / "lens.parquet")
    held_model.clear()
    shutil.rmtree(folder)
    assert run_unit(cell, store.root).state == "done"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "lens.parquet"), before)


def test_a_tuned_lens_that_is_worse_than_the_logit_lens_is_warned_of(
    tiny: Model, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(*arguments: Any) -> Translators:
        maps = np.random.default_rng(0).standard_normal((4, HIDDEN, HIDDEN)).astype(np.float32)
        maps[-1] = np.eye(HIDDEN)
        return Translators("tuned", mx.array(10 * maps), mx.zeros((4, HIDDEN)))

    monkeypatch.setattr(fitted_lenses, "fit_tuned", turned)
    first = expand(tiny_study(lens="tuned", lens_fitting=FITTING), {"tiny-llama": tiny})[0]
    assert run_unit(first, tmp_path).state == "done"
    (told,) = json.loads((Store(tmp_path).folder(first) / "done.json").read_text())["warnings"]
    assert "further from the model's own prediction than the logit lens at 3 of 4 blocks (0, 1, 2)" in told


def test_a_lens_that_is_not_finite_fails_its_unit(
    tiny: Model, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Translators:
        return Translators("jacobian", mx.full((4, HIDDEN, HIDDEN), mx.nan), mx.zeros((4, HIDDEN)))

    monkeypatch.setattr(fitted_lenses, "fit_jacobian", broken)
    first = expand(tiny_study(lens="jacobian", lens_fitting=FITTING), {"tiny-llama": tiny})[0]
    ending = run_unit(first, tmp_path)
    assert (ending.state, ending.reason) == ("failed", "TrainingError: the Jacobian lens is not finite")
