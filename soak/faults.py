"""Workers, nodes and drivers that die at random moments."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from actors.driver import Driver
from soak.ground import SMOKE, cluster, drive, exactly_once, quick, starts, told, units_of
from study.config.study import RaySettings
from study.config.units import Unit
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.finished import DONE
from study.results.store import Store

ALONE = RaySettings(in_flight=2, stack=1)


def aborted_workers(aborts: int = 60) -> dict[str, Any]:
    """Every unit's worker dies once, at a random moment of its work, or just after it has published."""
    units = units_of(aborts)
    with tempfile.TemporaryDirectory() as folder, cluster(nodes=2) as made:
        store = Store(Path(folder))
        states = drive(units, store, len(made.living), quick(0.2, aborts=True), ALONE)
        deaths = sum(starts(store, unit) > 1 for unit in units)
        return {"faults": deaths, "ended": len(states), **exactly_once(store, units)}


@dataclass
class Strike:
    """A node that was killed, when, and what had begun then."""

    at: float = 0.0
    units: Sequence[Unit] = ()
    not_before: float = field(default_factory=lambda: time.monotonic() + random.uniform(1, 3))
    """Of the next one."""


def killed_nodes(kills: int = 10) -> dict[str, Any]:
    """A node dies while it works, again and again, and another takes its place."""
    units = units_of(40 * kills)
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder, cluster(nodes=2) as made:
        store, ended, struck = Store(Path(folder)), 0, Strike()
        driver = Driver(units, store, RaySettings(in_flight=2, stack=4), 2, quick(1.0))
        for one in driver.carry_out(poll_seconds=0.2):
            ended += one is not None
            if struck.at and all(store.is_done(unit) for unit in struck.units):
                waits.append(time.monotonic() - struck.at)
                struck = Strike()
            if not struck.at and len(waits) < kills and time.monotonic() > struck.not_before:
                began = [unit for unit in units if starts(store, unit) and not store.is_done(unit)]
                if began:
                    made.kill(made.living.pop(0))
                    struck = Strike(time.monotonic(), began)
                    made.living.append(made.add())
        slowest = {"faults": len(waits), "slowest_s": round(max(waits, default=0.0), 1)}
        return {**slowest, "ended": ended, **exactly_once(store, units)}


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


def damaged_stores() -> dict[str, Any]:
    """What the tests do to results folders: files torn, changed or taken away, full disks, read-only folders."""
    tests = str(SMOKE.parent.parent / "tests" / "results" / "test_damage.py")
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", tests, f"--junitxml={told}"], capture_output=True, check=False
        )
        counts = ElementTree.parse(told).getroot()[0].attrib
    skipped, bad = int(counts["skipped"]), int(counts["failures"]) + int(counts["errors"])
    return {"faults": int(counts["tests"]) - skipped, "failed": bad, "skipped": skipped}


def _written(store: Store, unit: Any) -> int:
    return (store.folder(unit) / DONE).stat().st_mtime_ns
