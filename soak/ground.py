"""What the soak runs on: clusters of several nodes on this machine, quick work, and how results are compared."""

import hashlib
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from actors import environment
from study.config.catalogue import BuiltSource, Model
from study.config.grid import Grid
from study.config.study import RaySettings, Study
from study.config.units import Unit, kind
from study.plan.expand import expand
from study.results.files import write_json
from study.results.finished import DONE
from study.results.schema import files_of
from study.results.store import Ending, Store

Run = Callable[[Sequence[Unit], Path], list[Ending]]
PAIRS: list[Any] = [{"multiply": "multiply", "add": "add"}]
SMOKE = Path(__file__).parent.parent / "configs" / "smoke.yaml"
STARTS = "starts"
"""A file for every time that a unit was begun, in a folder of its own."""


def units_of(cells: int, seeds: int = 1) -> list[Unit]:
    """So many cells of one model that stack by tens, with the stage 1 and what is read of it of each seed."""
    layers: list[int | float] = list(range(10))
    weights = [round((i + 1) / (cells // (10 * seeds) + 1), 6) for i in range(cells // (10 * seeds))]
    grid = Grid(layers=layers, pairs=PAIRS, weights=weights, seeds=list(range(seeds)))
    study = Study(name="soak", models=["nothing"], grid=grid)
    return expand(study, {"nothing": Model(source=BuiltSource(built="llama"), blocks=10)})


def quick(seconds: float, aborts: bool = False) -> Run:
    """Publishes for every unit a file that depends on its id alone, after some time at random.

    With `aborts`, the process dies at a random moment of the first attempt at every unit. Made here, so that it
    travels to the workers by value.
    """

    def run(units: Sequence[Unit], results: Path) -> list[Ending]:
        store, outcomes = Store(results), []
        for unit in units:
            starts = results / STARTS / unit.id
            starts.mkdir(parents=True, exist_ok=True)
            (starts / f"{time.time_ns()}-{os.getpid()}").touch()
            if aborts and len(list(starts.iterdir())) == 1:
                threading.Timer(random.uniform(0, 1.2 * seconds), os.abort).start()
            if not store.is_done(unit):
                with store.attempt(unit) as folder:
                    time.sleep(random.uniform(0.5, 1.0) * seconds)
                    (folder / "rows.bin").write_bytes(content(unit))
                    finish(folder, unit, {"seconds": {"train": seconds}, "pid": os.getpid()})
            if aborts and len(list(starts.iterdir())) == 1:
                time.sleep(1.2 * seconds)
            outcomes.append(Ending("done", "finished", seconds))
        return outcomes

    return run


def finish(folder: Path, unit: Unit, about: dict[str, Any]) -> None:
    """Write the files that every unit of its kind has, empty, and `done.json`."""
    for name in set(files_of(kind(unit))) - {"unit.json"}:
        (folder / name).touch()
    write_json(folder / DONE, about)


def content(unit: Unit) -> bytes:
    """What a unit's file holds, in a calm run as in any other."""
    return hashlib.sha256(unit.id.encode()).digest() * 64


def starts(store: Store, unit: Unit) -> int:
    return len(list((store.root / STARTS / unit.id).glob("*")))


def exactly_once(store: Store, units: Sequence[Unit]) -> dict[str, int]:
    """Of the units: published once and as in a calm run, missing, different; and what lies about beside them."""
    right = [unit for unit in units if store.is_done(unit)]
    different = [unit for unit in right if (store.folder(unit) / "rows.bin").read_bytes() != content(unit)]
    folders = {folder.name for kind in ("stage1", "reference", "predictors", "cells") for folder in _in(store, kind)}
    expected = {store.folder(unit).name for unit in units}
    return {
        "units": len(units),
        "published": len(right),
        "different": len(different),
        "strays": len(folders - expected) + len(list((store.root / "unfinished").glob("*"))),
    }


def _in(store: Store, kind: str) -> list[Path]:
    folder = store.root / kind
    return list(folder.iterdir()) if folder.is_dir() else []


class Nodes:
    """A Ray cluster of several nodes on this machine."""

    def __init__(self, nodes: int, slots: int = 1) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000},
        )
        self._slots = slots
        self.living = [self.add() for _ in range(nodes)]
        self.address: str = self._cluster.address

    def add(self) -> Any:
        offered = {"mlx": self._slots, "unified_gb": 8}
        return self._cluster.add_node(num_cpus=self._slots, resources=offered, object_store_memory=100_000_000)

    def kill(self, node: Any) -> None:
        """Without a goodbye, and with all of its processes, as when a machine loses its power."""
        (raylet,) = node.all_processes["raylet"]
        workers = psutil.Process(raylet.process.pid).children(recursive=True)
        self._cluster.remove_node(node, allow_graceful=False)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()

    def end(self) -> None:
        self._cluster.shutdown()


@contextmanager
def cluster(nodes: int, slots: int = 1) -> Iterator[Nodes]:
    """Connected to, and ended afterwards."""
    environment.prepare(serving=False)
    environment.ensure_token()
    import ray

    made = Nodes(nodes, slots)
    try:
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        yield made
    finally:
        ray.shutdown()
        made.end()


def drive(units: Sequence[Unit], store: Store, slots: int, run: Run, settings: RaySettings | None = None) -> list[str]:
    """Run the units to their end; the states in which they ended."""
    from actors.driver import Driver

    driver = Driver(units, store, settings or RaySettings(in_flight=2), slots, run)
    return [ended.outcome.state for ended in driver.carry_out(poll_seconds=0.2) if ended]


def told(text: str, **figures: Any) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text} {json.dumps(figures) if figures else ''}", flush=True)
