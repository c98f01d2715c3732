"""The report of 10,000 cells: `python -m benchmarks.large_report OUT.json`.

Rows are simulated, as many of a cell as `configs/grid.yaml` measures, and packed; the report of these is written in a
process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from analysis.data.manifest import UNFINISHED, write_manifest
from study.config.base import content_hash
from study.config.evaluation import Evaluation
from study.config.names import TIERS
from study.config.wordings import templates
from study.results.files import write_json
from study.results.finished import DONE
from study.results.schema import COLUMNS

OPERATIONS = ("multiply", "add")
MODELS, SEEDS, PAIRS, WEIGHTS, BLOCKS = 10, 2, 10, 5, 20
"""10 models x 2 seeds x 10 pairs x 10 layers x 5 weights are 10,000 cells with a class loss."""
LAYERS = range(1, BLOCKS, 2)
STEPS, WATCHED = 100, 10
KILO = 1 if sys.platform == "darwin" else 1024
"""Bytes of what getrusage counts memory in."""
MOVES = [("none", 0.0), ("full", 1.0), *product(("class", "random"), (0.5, 1.0, 2.0, 4.0, 8.0))]
MOVES += [(name, 1.0) for name in ("complement", "paired_1", "paired_4", "random_4")]
EVALUATION = Evaluation.model_validate(yaml.safe_load(Path("configs/grid.yaml").read_text())["evaluation"])
EXCHANGED = EVALUATION.prompts_in(TIERS[0]) // EVALUATION.causal_prompts
"""One prompt of so many has its state exchanged."""
Unit = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_report", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.json", help="what was measured")
    parser.add_argument("--models", type=int, default=MODELS, help="models of 1,000 cells each (default 10)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "large"
        cells = write_packed(packed, options.models)
        began = time.perf_counter()
        command = ["-m", "study", "report", "--results", str(packed), "--out", str(Path(folder) / "large.md")]
        subprocess.run([sys.executable, *command], check=True)
        measured = {
            "cells": cells,
            "rows": {name: pq.read_metadata(packed / f"{name}.parquet").num_rows for name in COLUMNS},
            "seconds": time.perf_counter() - began,
            "peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KILO / 1e9,
            "page_mb": (Path(folder) / "large.html").stat().st_size / 1e6,
        }
    options.out.write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured))


def write_packed(folder: Path, models: int) -> int:
    """Write a packed study of so many models with simulated rows; return the number of cells with a class loss."""
    folder.mkdir(parents=True)
    names = [f"model-{number:02d}" for number in range(models)]
    units = [unit for model, seed in product(names, range(SEEDS)) for unit in _units(model, seed)]
    pairs = [dict(zip(OPERATIONS, pair.split("/"), strict=True)) for pair in _pairs()]
    grid = {"layers": list(LAYERS), "pairs": pairs, "weights": [0.0, *_weights()], "seeds": list(range(SEEDS))}
    config = {"name": "large", "models": names, "grid": grid, "also": [], "stage2": {"steps": STEPS}}
    described = {name: {"source": {"hub": f"simulated/{name}"}, "blocks": BLOCKS} for name in names}
    write_json(folder / "study.json", {"name": "large", "config": config, "models": described, "units": units})
    write_json(folder / DONE, {unit["id"]: _done(unit) for unit in units})
    write_json(folder / UNFINISHED, {})
    writers: dict[str, pq.ParquetWriter] = {}
    random = np.random.default_rng(0)
    for _, together in groupby(units, key=lambda unit: (unit["model"], unit["seed"])):
        gathered: dict[str, list[pa.Table]] = {}
        for unit in together:
            for name, table in _rows(unit, random).items():
                gathered.setdefault(name, []).append(table.append_column("unit", pa.array([unit["id"]] * len(table))))
        for name, tables in gathered.items():
            table = pa.concat_tables(tables)
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema, compression="zstd")
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()
    for name in COLUMNS.keys() - writers.keys():
        pq.write_table(pa.Table.from_pandas(pd.DataFrame(columns=[*COLUMNS[name], "unit"])), folder / f"{name}.parquet")
    write_manifest(folder, {"study.json", DONE, UNFINISHED, *(f"{name}.parquet" for name in COLUMNS)})
    return sum(unit["layer"] is not None for unit in units)


def _pairs() -> list[str]:
    return [f"left{number}/right{number}" for number in range(PAIRS)]


def _weights() -> list[float]:
    return [(number + 1) / (WEIGHTS + 1) for number in range(WEIGHTS)]


def _units(model: str, seed: int) -> Iterator[Unit]:
    stage1, reference = (content_hash(f"{model}|{what}|s{seed}") for what in ("stage1", "reference"))

    def unit(kind: str, what: str, **settings: Any) -> Unit:
        label = f"{model}|{what}|s{seed}"
        empty = dict.fromkeys(("layer", "pair", "readout", "arm", "wordings", "weight", "reference"))
        about = {"kind": kind, "id": content_hash(label), "folder": content_hash(label), "label": label, "model": model}
        return {
            **about,
            "stage1": stage1,
            "blocks": BLOCKS,
            "seed": seed,
            "operations": list(OPERATIONS),
            **empty,
            **settings,
        }

    trained = {"arm": "plain", "wordings": ["symbolic"], "reference": reference}
    yield unit("stage1", "stage1")
    yield unit("reference", "reference")
    yield unit("cell", "w=0", weight=0.0, **trained)
    for pair, layer, weight in product(_pairs(), LAYERS, _weights()):
        words = dict(zip(OPERATIONS, pair.split("/"), strict=True))
        settings = {"layer": layer, "pair": words, "readout": pair, "weight": weight, **trained}
        yield unit("cell", f"L{layer}|{pair}|w={weight:.2f}", **settings)


def _done(unit: Unit) -> dict[str, Any]:
    return {
        **{key: unit[key] for key in ("kind", "id", "label")},
        "seconds": {"train": 40.0, "evaluate": 20.0},
        "versions": {"mlx": "0.32.4"},
        "gates": [{"gate": "last-layer lens equals the logits", "figure": 1e-6, "limit": 1e-3, "passed": True}],
    }


Columns = dict[str, Any]


@cache
def _prompts() -> dict[str, list[str]]:
    """The prompts of a cell, by column."""
    rows = []
    for tier in TIERS:
        trained = tier in ("symbolic", "semantic")
        chosen = [one for one in templates(tier) if trained or one.held_out]
        for operation, number in product(OPERATIONS, range(EVALUATION.prompts_in(tier))):
            template = chosen[number % len(chosen)]
            seen = "stage1+stage2" if trained and not template.held_out else "nobody"
            rows.append((tier, template.name, operation, f"{number % 12},{number % 11}", seen))
    return dict(
        zip(("tier", "template", "operation", "operands", "seen"), map(list, zip(*rows, strict=True)), strict=True)
    )


def _rows(unit: Unit, random: np.random.Generator) -> dict[str, pa.Table]:
    """The rows of a unit, by table: what is right and read at random, more of it the deeper a cell is trained."""
    layer, found = unit["layer"], dict[str, tuple[Columns, Columns]]()
    if unit["kind"] != "reference":
        losses = {name: np.geomspace(10, 0.05, STEPS) for name in ("loss", "class_loss", "answer_loss")}
        found["curves"] = {"step": np.arange(1, STEPS + 1)}, {**losses, "seconds": np.full(STEPS, 0.4)}
    if unit["kind"] != "stage1":
        stages = ("baseline", "stage1") if unit["kind"] == "reference" else ("stage2",)
        read = {"pair": (unit["readout"],) if layer else tuple(_pairs()), "stage": stages}
        about, size = _every(True, stage=stages)
        right = random.random(size) < 0.7
        found["answers"] = about, {"right": right, "number_right": right, "nll": random.random(size)}
        about, size = _every(True, **read, layer=tuple(sorted({layer, BLOCKS - 1})) if layer else tuple(LAYERS))
        margin = random.normal((layer or 0) / BLOCKS / 2, 0.3, size)
        p = 1 / (1 + np.exp(-5 * margin))
        told = {"log_p": np.log(p), "log_mass": np.zeros(size), "choice": margin > 0, "margin": margin}
        found["lens"] = about, told
        about, size = _every(False, **read, layer=tuple(range(BLOCKS)), tier=TIERS)
        level = random.random(size)
        found["profile"] = about, {"prompts": np.full(size, 32), "p": level, "choice": level, "log_p": np.log(level)}
    if layer:
        steps = tuple(range(10, 10 * WATCHED + 1, 10))
        about, size = _every(False, step=steps, layer=tuple(range(BLOCKS)), tier=TIERS)
        level = random.random(size)
        found["onset"] = about, {"prompts": np.full(size, 8), "choice": level, "p": level, "margin": level}
        about, size = _every(True, EXCHANGED, layer=(layer,), move=tuple(range(len(MOVES))))
        nll = np.where(about["move"] == 1, 0.2, 3.0) + random.random(size)
        found["interchange"] = about, {"source_nll": nll, "source_right": random.random(size) < 0.3}
    return {name: _table(name, {**about, **told}) for name, (about, told) in found.items()}


@cache
def _every(prompts: bool, every: int = 1, **settings: tuple[Any, ...]) -> tuple[Columns, int]:
    """Every prompt (if `every` is more than one, one in so many of symbolic and semantic) at every combination of
    settings, by column; and how many rows these are."""
    asked = {name: np.array(column, object) for name, column in _prompts().items()} if prompts else {}
    if every > 1:
        asked = {
            name: column[np.isin(asked["tier"], ("symbolic", "semantic"))][::every] for name, column in asked.items()
        }
    count, places = len(asked["tier"]) if prompts else 1, list(product(*settings.values()))
    found: Columns = {name: np.tile(column, len(places)) for name, column in asked.items()}
    if prompts:
        found["prompt_id"] = np.tile(np.arange(count), len(places))
    for name, values in zip(settings, zip(*places, strict=True), strict=True):
        found[name] = np.repeat(np.array(values), count)
    if "move" in found:
        names, strengths = zip(*MOVES, strict=True)
        found |= {"subspace": np.array(names)[found["move"]], "strength": np.array(strengths)[found["move"]]}
    return {name: _column(column) for name, column in found.items()}, count * len(places)


def _column(values: Any) -> Any:
    return values if values.dtype.kind in "ifb" else pa.array(values.tolist(), pa.string())


def _table(name: str, columns: Columns) -> pa.Table:
    found = {}
    for column in COLUMNS[name]:
        values = columns[column]
        is_float = isinstance(values, np.ndarray) and values.dtype.kind == "f"
        found[column] = pa.array(values.astype("float32")) if is_float else values
    return pa.table(found)


if __name__ == "__main__":
    main()
