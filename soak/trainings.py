"""Tiny real trainings whose workers are killed: what comes out is what an uninterrupted study gives, to 1e-5."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from actors.driver import Driver
from soak.ground import SMOKE, cluster
from study.config.study import RaySettings
from study.config.units import Unit
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.finished import TIMINGS
from study.results.store import Store

SETTINGS = RaySettings(checkpoint_every=5)
CLOSE = 1e-5
ROUNDS = 5
"""Of a study: a unit whose worker is killed twice has failed until the study is run again."""
STEPS = 300
"""Of each stage: a few seconds, so that there is a middle to be killed in."""


def killed_trainings(kills: int = 10) -> dict[str, Any]:
    """Studies of a few units, one after the other, until so many workers were killed in the middle of one."""
    plan = read_study(SMOKE)
    longer = {name: getattr(plan.study, name).model_copy(update={"steps": STEPS}) for name in ("stage1", "stage2")}
    units = expand(plan.study.model_copy(update=longer), plan.models)
    found = {"faults": 0, "studies": 0, "units": 0, "published": 0, "different": 0}
    with tempfile.TemporaryDirectory() as folder, cluster(nodes=2):
        calm = Store(Path(folder) / "calm")
        _run(units, calm, most=0)
        while found["faults"] < kills:
            store = Store(Path(folder) / f"study{found['studies']}")
            found["faults"] += _run(units, store, most=kills - found["faults"])
            found["studies"] += 1
            found["units"] += len(units)
            done = [unit for unit in units if store.is_done(unit)]
            found["published"] += len(done)
            found["different"] += sum(not _equal(calm.folder(unit), store.folder(unit)) for unit in done)
    return found


def _run(units: Sequence[Unit], store: Store, most: int) -> int:
    """Run what is missing, a few times over; how many workers were killed, `most` at most."""
    killed, due = 0, time.monotonic() + random.uniform(0, 3)
    for _ in range(ROUNDS):
        todo = [unit for unit in units if not store.is_done(unit)]
        for unit in todo:
            store.forget_failure(unit)
        for _ in Driver(todo, store, SETTINGS, 2).carry_out(poll_seconds=0.2):
            training = [note for note in store.running() if note["stage"].startswith("stage")]
            if killed < most and training and time.monotonic() > due:
                with suppress(ProcessLookupError):
                    os.kill(random.choice(training)["pid"], signal.SIGKILL)
                    killed += 1
                due = time.monotonic() + random.uniform(1, 4)
    return killed


def _equal(calm: Path, found: Path) -> bool:
    """Whether rows and weights are the same, numbers up to `CLOSE`."""
    return _files(calm) == _files(found) and all(
        _same_weights(calm / name, found / name)
        if name.endswith(".safetensors")
        else _same_rows(calm / name, found / name)
        for name in _files(calm)
    )


def _files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.suffix in (".safetensors", ".parquet"))


def _same_weights(one: Path, other: Path) -> bool:
    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(np.allclose(ours[name], theirs[name], CLOSE, CLOSE) for name in ours)


def _same_rows(one: Path, other: Path) -> bool:
    ours, theirs = (pq.read_table(file).to_pandas() for file in (one, other))
    if len(ours) != len(theirs) or list(ours) != list(theirs):
        return False
    return all(
        np.allclose(ours[name], theirs[name], CLOSE, CLOSE, equal_nan=True)
        if ours[name].dtype.kind == "f"
        else ours[name].equals(theirs[name])
        for name in ours
        if name not in TIMINGS
    )
