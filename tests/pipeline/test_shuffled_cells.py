"""A published cell of shuffled labels: its rows are read for the labels that were drawn."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest

from study.config.catalogue import Model
from study.config.grid import Grid
from study.config.names import NOBODY
from study.config.study import Study
from study.config.units import Cell
from study.lens.hooks import attached
from study.lens.tokens import class_tokens, encode
from study.models.load import load
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.plan.prompts import seen_templates
from study.results.store import Store
from study.tasks import task_of
from study.tasks.prompts import shuffled_label
from study.training import adapters

pytestmark = pytest.mark.slow

PAIR = {"multiply": "multiply", "add": "add"}
LAYERS = (1, 3)


@pytest.fixture(scope="module")
def finished(
    tiny: Model, tiny_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, Cell]:
    study = tiny_study(grid=Grid(layers=[1], pairs=[PAIR], weights=[0.5], arms=["shuffled_labels"]))
    units = expand(study, {"tiny-llama": tiny})
    results = tmp_path_factory.mktemp("shuffled")
    assert [run_unit(unit, results).state for unit in (units[0], units[-1])] == ["done", "done"]
    cell = units[-1]
    assert isinstance(cell, Cell)
    return Store(results), cell


def test_the_lens_is_that_of_the_drawn_label_recomputed_from_the_models_logits(
    finished: tuple[Store, Cell], tiny: Model
) -> None:
    store, cell = finished
    lens = pd.read_parquet(store.folder(cell) / "lens.parquet").set_index(["prompt_id", "layer"])
    loaded = load(tiny)
    first = cell.stage_one
    adapters.put(loaded.model, first.stage1.lora, adapters.load(store.folder(first)))
    adapters.fuse(loaded.model)
    adapters.put(loaded.model, cell.stage2.lora, adapters.load(store.folder(cell)))
    tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, cell.readouts[0]).items()}
    asked = task_of(first.data).evaluation_prompts(list(first.data.operations), cell.evaluation, 0)
    exchanged = 0
    for number, prompt in enumerate(asked):
        label = shuffled_label(prompt, cell.operations, first.seed)
        (other,) = set(tokens) - {label}
        exchanged += label != prompt.operation
        with attached(loaded.model) as reader:
            states = reader.hidden(mx.array([encode(loaded.tokenizer, prompt).prompt_ids]))
            for layer in LAYERS:
                logits = np.array(reader.read_out(states[layer][0, -1:]), np.float64)[0]
                row = lens.loc[number, layer]
                total = np.log(np.exp(logits - logits.max()).sum()) + logits.max()
                assert row.log_p == pytest.approx(logits[tokens[label]] - total, abs=1e-3)
                assert row.margin == pytest.approx(logits[tokens[label]] - logits[tokens[other]], abs=1e-3)
                assert row.choice == (row.margin > 0)
                assert row.operation == prompt.operation
    assert 0 < exchanged < len(asked)


def test_it_trains_until_it_fits_and_no_longer_than_it_may(finished: tuple[Store, Cell]) -> None:
    store, cell = finished
    curve = pd.read_parquet(store.folder(cell) / "curves.parquet")
    assert cell.most_steps == 4 * cell.stage2.steps == len(curve)
    assert curve.class_loss[-20:].mean() > cell.stage2.fitted_loss


def test_there_are_no_onset_rows_since_they_would_be_of_the_operation(finished: tuple[Store, Cell]) -> None:
    store, cell = finished
    assert not (store.folder(cell) / "onset.parquet").exists()


def test_the_rows_say_which_trainings_saw_each_template(finished: tuple[Store, Cell]) -> None:
    store, cell = finished
    seen = seen_templates(cell.stage_one, cell)
    for name in ("answers", "lens"):
        rows = pd.read_parquet(store.folder(cell) / f"{name}.parquet")
        assert (rows.seen == [seen.get(template, NOBODY) for template in rows.template]).all()
        assert {"nobody", "stage1+stage2"} <= set(rows.seen)
