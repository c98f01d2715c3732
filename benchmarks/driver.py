"""What the driver costs: grids of 10 to 10,000 cells whose work is nothing. `python -m benchmarks.driver OUT.json`."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from actors.cluster import connect
from actors.tasks import carry_out
from study.catalogue import BuiltSource, Model
from study.cells import Unit, expand
from study.config import Grid, RaySettings, Study
from study.finished import DONE
from study.store import Outcome, Store

CELLS = (10, 100, 1000, 10_000)
SETTINGS = RaySettings(workers=2)


def main() -> None:
    Path(sys.argv[1]).write_text(json.dumps([measure(count) for count in CELLS], indent=2) + "\n")


def measure(cells: int) -> dict[str, Any]:
    """Seconds of expansion with all ids, and of the driver's processor for each cell, with its memory at the end."""
    began = time.perf_counter()
    units = expand(*grid(cells))
    ids = {unit.id for unit in units}
    expansion = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder, connect(SETTINGS) as cluster:
        store = Store(Path(folder))
        began, processor = time.perf_counter(), time.process_time()
        ended = sum(one is not None for one in carry_out(units, store, SETTINGS, cluster.slots, nothing))
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
    assert ended == len(ids)
    return {
        "cells": cells,
        "units": len(units),
        "expansion_seconds": expansion,
        "wall_ms_per_cell": 1000 * seconds / cells,
        "driver_ms_per_cell": 1000 * processor / cells,
        "driver_memory_mb": psutil.Process().memory_info().rss / 1e6,
    }


def grid(cells: int) -> tuple[Study, dict[str, Model]]:
    """A study of so many cells, at most 200 of them a seed."""
    a_seed = min(cells, 200)
    weights = [(i + 1) / a_seed for i in range(a_seed // 10)]
    pairs: list[Any] = [{"multiply": "multiply", "add": "add"}]
    study = Study(
        name="driver",
        models=["nothing"],
        grid=Grid(layers=list(range(10)), pairs=pairs, weights=weights, seeds=list(range(cells // a_seed))),
    )
    return study, {"nothing": Model(source=BuiltSource(built="llama"), blocks=10)}


def nothing(units: Sequence[Unit], results: Path) -> list[Outcome]:
    """Finished at once."""
    store = Store(results)
    for unit in units:
        store.folder(unit).mkdir(parents=True, exist_ok=True)
        (store.folder(unit) / DONE).write_text("{}")
    return [Outcome("done", "finished", 0.0) for _ in units]


if __name__ == "__main__":
    main()
