"""Workers, nodes and drivers that die at random moments."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from soak.ground import cluster, drive, exactly_once, quick, starts, told, units_of
from study.cells import expand
from study.config import RaySettings
from study.finished import DONE
from study.reading import read_study
from study.store import Store

ALONE = RaySettings(in_flight=2, stack=1)
SMOKE = Path(__file__).parent.parent / "configs" / "smoke.yaml"


def aborted_workers(aborts: int = 60) -> dict[str, Any]:
    """Every unit's worker dies once, at a random moment of its work, or just after it has published."""
    units = units_of(aborts)
    with tempfile.TemporaryDirectory() as folder, cluster(nodes=2) as made:
        store = Store(Path(folder))
        states = drive(units, store, len(made.living), quick(0.2, aborts=True), ALONE)
        deaths = sum(starts(store, unit) > 1 for unit in units)
        return {"faults": deaths, "ended": len(states), **exactly_once(store, units)}


def killed_nodes(kills: int = 10) -> dict[str, Any]:
    """A node dies while it works, again and again, and another takes its place."""
    units = units_of(20 * kills)
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder, cluster(nodes=2) as made:
        store = Store(Path(folder))
        over = threading.Event()

        def kill() -> None:
            for _ in range(kills):
                if over.wait(random.uniform(4, 8)):
                    return
                began = {unit.id for unit in units if starts(store, unit) and not store.is_done(unit)}
                victim = made.living.pop(0)
                made.kill(victim)
                killed = time.monotonic()
                made.living.append(made.add())
                while not over.is_set() and any(not store.is_done(unit) for unit in units if unit.id in began):
                    time.sleep(0.2)
                waits.append(time.monotonic() - killed)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            states = drive(units, store, 2, quick(0.6), RaySettings(in_flight=2, stack=4))
        finally:
            over.set()
            thread.join()
        slowest = {"faults": len(waits), "slowest_s": round(max(waits, default=0.0), 1)}
        return {**slowest, "ended": len(states), **exactly_once(store, units)}


def killed_drivers(kills: int = 20) -> dict[str, Any]:
    """`study.grid` with tiny real trainings, killed by SIGKILL at a random moment and run again until it ends."""
    plan = read_study(SMOKE)
    units = expand(plan.study, plan.models)
    with tempfile.TemporaryDirectory() as folder, cluster(nodes=2) as made:
        places = ["--results", f"{folder}/results", "--report", f"{folder}/report.md"]
        command = [sys.executable, "-m", "study.grid", str(SMOKE), "--address", made.address, *places]
        store, repeated, killed, rounds = Store(Path(folder) / "results"), 0, 0, 0
        before: dict[str, int] = {}
        while killed < kills and rounds < 3 * kills:
            rounds += 1
            if all(store.is_done(unit) for unit in units):  # from the start again
                before.clear()
                store = Store(Path(folder) / f"results{rounds}")
                command[command.index("--results") + 1] = str(store.root)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
                try:
                    driver.wait(timeout=random.uniform(4, 14))
                except subprocess.TimeoutExpired:
                    os.kill(driver.pid, signal.SIGKILL)
                    killed += 1
            after = {unit.id: _written(store, unit) for unit in units if store.is_done(unit)}
            repeated += sum(after.get(unit) != at for unit, at in before.items())
            before = after
        last = subprocess.run(command, capture_output=True, text=True, check=False)
        missing = sum(not store.is_done(unit) for unit in units)
        if last.returncode:
            told(last.stdout + last.stderr)
    return {
        "faults": killed,
        "units": len(units),
        "repeated_or_lost": repeated,
        "missing": missing,
        "exit": last.returncode,
    }


def _written(store: Store, unit: Any) -> int:
    return (store.folder(unit) / DONE).stat().st_mtime_ns
