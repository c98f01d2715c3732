"""What the driver costs: grids of 10 to 10,000 cells whose work is nothing. `python -m benchmarks.driver OUT.json`."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from actors.cluster import connect
from actors.driver import carry_out
from soak.ground import units_of
from soak.scale import nothing
from study.config.study import RaySettings
from study.results.store import Store

CELLS = (10, 100, 1000, 10_000)
A_SEED = 200
"""Cells of one seed, at most."""
SETTINGS = RaySettings(workers=2)


def main() -> None:
    Path(sys.argv[1]).write_text(json.dumps([measure(count) for count in CELLS], indent=2) + "\n")


def measure(cells: int) -> dict[str, Any]:
    """Seconds of expansion with all ids, and of the driver's processor for each cell, with its memory at the end."""
    began = time.perf_counter()
    units = units_of(cells, seeds=max(1, cells // A_SEED))
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


if __name__ == "__main__":
    main()
