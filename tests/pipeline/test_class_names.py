"""Class names of several tokens in whole units: trained, measured, gated and recorded."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.config.catalogue import Model
from study.config.grid import Grid
from study.config.stages import Lora, Stage2
from study.config.study import Study
from study.config.units import Cell, Reference, Unit
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.store import Store

pytestmark = pytest.mark.slow

NAMES = {"multiply": "mzq", "add": "zy"}
LORA = Lora(rank=8, alpha=16.0, projections="all")


@pytest.fixture(scope="module", params=["first", "sequence"])
def finished(
    request: pytest.FixtureRequest, tiny: Model, tiny_study: Callable[..., Study], tmp_path_factory: Any
) -> tuple[str, dict[str, Unit], Path]:
    """A study whose class names are several tokens each, with all its units by label."""
    results = tmp_path_factory.mktemp("results")
    grid = Grid(layers=[0.5], pairs=[NAMES], weights=[0.0, 0.5])
    study = tiny_study(grid=grid, class_name=request.param, stage2=Stage2(steps=80, learning_rate=3e-3, lora=LORA))
    units = expand(study, {"tiny-llama": tiny})
    for unit in units:
        ending = run_unit(unit, results)
        assert ending.state == "done", ending.reason
    return request.param, {unit.label: unit for unit in units}, results


def folder(finished: tuple[str, dict[str, Unit], Path], wanted: Callable[[Unit], bool]) -> Path:
    _, units, results = finished
    (unit,) = filter(wanted, units.values())
    return Store(results).folder(unit)


def trained(unit: Unit) -> bool:
    return isinstance(unit, Cell) and unit.layer is not None


def test_what_was_read_is_recorded_and_gated(finished: Any) -> None:
    class_name, _, _ = finished
    done = json.loads((folder(finished, trained) / "done.json").read_text())
    (tokens,) = done["tokens"].values()
    for operation, token in tokens.items():
        assert token["text"] == (NAMES[operation] if class_name == "sequence" else NAMES[operation][0])
        assert len(token["rest"]) == (len(NAMES[operation]) - 1 if class_name == "sequence" else 0)
    gates = {gate["gate"]: gate["figure"] for gate in done["gates"]}
    wanted = {"first": "class names that begin with another token", "sequence": "class names that are other tokens"}
    assert gates[wanted[class_name]] == 0


def test_the_name_is_learned_at_its_layer_and_not_without_a_class_loss(finished: Any) -> None:
    curve = pd.read_parquet(folder(finished, trained) / "curves.parquet")["class_loss"]
    assert curve.iloc[-5:].mean() < 0.2 * curve.iloc[0]
    read = {}
    for name, wanted in {
        "trained": trained,
        "control": lambda unit: isinstance(unit, Cell) and not trained(unit),
    }.items():
        rows = pd.read_parquet(folder(finished, wanted) / "lens.parquet")
        read[name] = rows[(rows["layer"] == 1) & (rows["tier"] == "symbolic")]
    assert math.exp(read["trained"]["log_p"].mean()) > 0.3 > math.exp(read["control"]["log_p"].mean())


def test_the_reference_reads_whole_names_at_every_layer(finished: Any) -> None:
    class_name, _, _ = finished
    rows = pd.read_parquet(folder(finished, lambda unit: isinstance(unit, Reference)) / "lens.parquet")
    assert set(rows["layer"]) == set(range(4))
    # Before any class is trained, each further token costs about as much as the first.
    tokens = rows["operation"].map(lambda one: len(NAMES[one]) if class_name == "sequence" else 1)
    assert (rows["log_p"] / tokens).mean() == pytest.approx(-math.log(300), rel=0.5)
