"""The certificate of a machine: a small study whose rows are known is run again, and what differs is told.

The known rows are in certificate.json; `python -m study.pipeline.certificate` writes them again, after a change of the
code that changes results.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.json_files import read_json
from study.config.stages import Lora, Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, Reference, StageOne, Unit
from study.models.machine import certificate_file, described
from study.pipeline import held_model
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.files import write_json
from study.results.finished import DONE
from study.results.store import Store

KNOWN = Path(__file__).with_name("certificate.json")
MODEL = Model(source=BuiltSource(built="llama"), blocks=4)
"""Its weights are drawn by numpy from a fixed seed, so that they are the same everywhere."""
STUDY = Study(
    name="certificate",
    models=["tiny-llama"],
    grid=Grid(layers=[0.5], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.5]),
    data=Data(smallest=2, largest=9),
    stage1=Stage1(steps=20, batch_size=8, learning_rate=1e-3, warmup_steps=5),
    stage2=Stage2(
        steps=20,
        batch_size=8,
        learning_rate=1e-3,
        warmup_steps=5,
        lora=Lora(rank=8, alpha=16.0, projections="all"),
    ),
    evaluation=Evaluation(prompts_per_class=8, profile_prompts=4, onset_every=0, causal_prompts=0),
)
SIZE = 512
"""Of the matrices whose product is compared with the same in float64."""
LAST = 5
"""Steps at the end of a training over which losses are averaged."""
UNTRAINED, TRAINED, AT_THE_END = 1e-3, 1e-2, 0.05
"""Limits of what may differ: of figures that no training precedes, nats; of losses at the first step after stage 1,
relative; of losses at the end of trainings, which set rounding apart step by step, relative."""
PRODUCT = 1e-5
"""Limit of the relative error of a product in float32; where a device rounds its inputs to 10 bits it is near 5e-4."""


@dataclass(frozen=True)
class Check:
    """One comparison."""

    name: str
    figure: float
    limit: float

    @property
    def agrees(self) -> bool:
        return self.figure <= self.limit


def certify(model: Model = MODEL) -> list[Check]:
    """Run the reference study and compare it with the known rows; the gates of its units are among the checks.

    Raises RuntimeError where a unit does not finish.
    """
    known = read_json(KNOWN)
    with TemporaryDirectory() as folder:
        units, found = _run(model, Path(folder))
        gates = list(_gates(units, Store(Path(folder))))
    checks = [Check("product in float32, against float64", _product_error(), PRODUCT), *gates]
    for name in ("log p of class tokens at every layer", "negative log-likelihood of answers"):
        gap = np.abs(np.array(found[name]) - np.array(known[name])).max()
        checks.append(Check(f"{name}, before any training, nats", float(gap), UNTRAINED))
    limits = {"first step of stage 1": UNTRAINED, "first step of stage 2": TRAINED}
    for name in ("first step of stage 1", "first step of stage 2", "end of stage 1", "end of stage 2"):
        gap = abs(found[name] - known[name]) / abs(known[name])
        checks.append(Check(f"loss, {name}, relative", gap, limits.get(name, AT_THE_END)))
    return checks


def record(checks: list[Check]) -> Path:
    """Write the certificate, of which units and reports then tell; return its file."""
    agrees = all(check.agrees for check in checks)
    date = datetime.now(UTC).date().isoformat()
    file = certificate_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {**described(), "agrees": agrees, "date": date, "checks": [asdict(check) for check in checks]})
    return file


def _run(model: Model, folder: Path) -> tuple[list[Unit], dict[str, Any]]:
    """Run the units that are compared; return them and their figures by name."""
    units: list[Unit] = [
        one for one in expand(STUDY, {"tiny-llama": model}) if isinstance(one, StageOne | Reference | Cell)
    ]
    for unit in units:
        ending = run_unit(unit, folder)
        if ending.state != "done":
            raise RuntimeError(f"{unit.label} {ending.state}: {ending.reason}")
    held_model.clear()
    store, found = Store(folder), dict[str, Any]()
    for unit in units:
        place = store.folder(unit)
        if isinstance(unit, Reference):
            lens, answers = (pd.read_parquet(place / f"{name}.parquet") for name in ("lens", "answers"))
            before = lens[lens["stage"] == "baseline"].sort_values(["prompt_id", "layer"])
            found["log p of class tokens at every layer"] = before["log_p"].round(5).tolist()
            nll = answers[answers["stage"] == "baseline"].sort_values("prompt_id")["nll"]
            found["negative log-likelihood of answers"] = nll.round(5).tolist()
        else:
            losses = pd.read_parquet(place / "curves.parquet")["loss"]
            stage = "stage 1" if isinstance(unit, StageOne) else "stage 2"
            found[f"first step of {stage}"] = round(float(losses.iloc[0]), 6)
            found[f"end of {stage}"] = round(float(losses.iloc[-LAST:].mean()), 6)
    return units, found


def _gates(units: list[Unit], store: Store) -> Iterator[Check]:
    """Yield the gates of the units, each with its largest figure."""
    largest: dict[str, Check] = {}
    for unit in units:
        for gate in read_json(store.folder(unit) / DONE)["gates"]:
            check = Check(f"gate: {gate['gate']}", gate["figure"], gate["limit"])
            if check.name not in largest or largest[check.name].figure < check.figure:
                largest[check.name] = check
    yield from largest.values()


def _product_error() -> float:
    """Return the error of a product in float32 relative to its size, in Frobenius norms."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIZE, SIZE)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    own = np.array(mx.array(a) @ mx.array(b), np.float64)
    return float(np.linalg.norm(own - exact) / np.linalg.norm(exact))


def main() -> int:
    """Write the known rows again; returns 0."""
    with TemporaryDirectory() as folder:
        _, found = _run(MODEL, Path(folder))
    KNOWN.write_text(json.dumps({"made_by": described(), **found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
