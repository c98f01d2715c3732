"""Ten thousand cells whose work is nothing: the driver's memory, and units a second over nodes and cells."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from soak.ground import cluster, finish, units_of
from study.config.study import RaySettings
from study.config.units import Unit
from study.results.store import Ending, Store

SETTINGS = RaySettings(in_flight=4)


def nothing(units: Sequence[Unit], results: Path) -> list[Ending]:
    """Finished at once."""
    store = Store(results)
    for unit in units:
        with store.attempt(unit) as folder:
            finish(folder, unit, {})
    return [Ending("done", "finished", 0.0) for _ in units]


def alone(nodes: int, cells: int) -> dict[str, Any]:
    """`many_cells` in a process of its own: one that had other clusters before keeps some of their memory."""
    command = [sys.executable, "-m", "soak.scale", str(nodes), str(cells)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def many_cells(nodes: int, cells: int) -> dict[str, Any]:
    """One run; memory of the driver after a tenth of the units and at the end."""
    from actors.driver import Driver

    units = units_of(cells, seeds=max(1, cells // 200))
    with tempfile.TemporaryDirectory() as folder, cluster(nodes) as made:
        store, process = Store(Path(folder)), psutil.Process()
        driver = Driver(units, store, SETTINGS, len(made.living), nothing)
        began, ended, early = time.monotonic(), 0, 0.0
        for one in driver.carry_out(poll_seconds=0.2):
            ended += one is not None
            if not early and ended >= len(units) / 10:
                early = process.memory_info().rss / 1e6
        seconds = time.monotonic() - began
        missing = sum(not store.is_done(unit) for unit in units)
    return {
        "nodes": nodes,
        "cells": cells,
        "units": len(units),
        "missing": missing,
        "units_per_second": round(len(units) / seconds, 1),
        "memory_early_mb": round(early),
        "memory_end_mb": round(process.memory_info().rss / 1e6),
    }


if __name__ == "__main__":
    print(json.dumps(many_cells(*map(int, sys.argv[1:]))))
