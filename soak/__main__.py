"""`python -m soak`: every fault on real clusters, about 40 minutes on two cores; the figures go into soak/RESULTS.md.

Exit code 1 where something did not hold. A partition of the network needs root, and is skipped with a message without.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from actors import environment
from soak import faults, inputs, partition, scale, trainings
from soak.ground import told

HERE = Path(__file__).parent
Figures = dict[str, Any]


def once(found: Figures) -> bool:
    """Every unit published once, as in a calm run, and nothing beside them."""
    return bool(found["published"] == found["units"] and not found["different"] and not found["strays"])


FAULTS: dict[str, tuple[Callable[[], Figures], Callable[[Figures], bool], str]] = {
    "workers aborted at a random moment": (
        faults.aborted_workers,
        lambda found: found["faults"] >= 50 and once(found),
        "at least 50; every cell exactly once, as in a calm run",
    ),
    "nodes killed mid-cell": (
        faults.killed_nodes,
        lambda found: found["faults"] >= 10 and once(found) and found["slowest_s"] <= 60,
        "at least 10; the same, and what they ran is done within 60 s",
    ),
    "driver killed by SIGKILL and run again": (
        faults.killed_drivers,
        lambda found: found["faults"] >= 20 and not found["repeated_or_lost"] and not found["missing"],
        "at least 20; no finished cell repeated, none lost",
    ),
    "workers killed in tiny real trainings": (
        trainings.killed_trainings,
        lambda found: found["faults"] >= 10 and found["published"] == found["units"] and not found["different"],
        "at least 10; every unit once, rows and weights as in a calm run to 1e-5",
    ),
    "store: torn, corrupt, missing, full disk, read-only": (
        faults.damaged_stores,
        lambda found: found["faults"] >= 5 and not found["failed"],
        "each named, set aside or repaired; nothing else touched (tests/results/test_damage.py)",
    ),
    "network partition": (
        partition.partitions,
        lambda found: found["faults"] >= 3 and once(found),
        "at least 3; exactly one published result a cell",
    ),
    "inputs changed at random": (
        inputs.refused_inputs,
        lambda found: found["faults"] >= 5000 and not any(found[verdict] for verdict in inputs.BAD),
        "at least 5,000 studies, catalogues, examples, command lines, results and weights; none with a traceback, none "
        "longer than a minute of the processor, none taken that cannot run or is not what was written",
    ),
}
CURVE = ((1, 1000), (2, 1000), (4, 1000), (8, 1000), (8, 100), (8, 10_000))
"""Nodes and cells."""
FLAT_MB = 50
"""What the driver's memory may grow by from the first tenth of 10,000 cells to the last."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m soak", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", choices=[*FAULTS, "scale"], help="one of them; the other results stay")
    only = parser.parse_args().only
    environment.prepare(serving=False)
    table = {name: _try(name, *fault) for name, fault in FAULTS.items() if only in (None, name)}
    curve = [] if only not in (None, "scale") else [_told(scale.alone(*point)) for point in CURVE]
    before: dict[str, Any] = json.loads((HERE / "results.json").read_bytes())
    rows = {name: (before["faults"] | table)[name] for name in FAULTS if name in before["faults"] | table}
    (HERE / "results.json").write_text(json.dumps({"faults": rows, "scale": curve or before["scale"]}, indent=2) + "\n")
    (HERE / "RESULTS.md").write_text(_markdown(rows, curve or before["scale"]))
    bad = [name for name, found in table.items() if found["held"] is False]
    bad += ["scale"] if curve and not _is_flat(curve) else []
    told(f"did not hold: {', '.join(bad)}" if bad else "everything held")
    return 1 if bad else 0


def _try(name: str, run: Callable[[], Figures], holds: Callable[[Figures], bool], wanted: str) -> Figures:
    if run is partition.partitions and (reason := partition.possible()):
        told(f"{name}: skipped, {reason}")
        return {"wanted": wanted, "held": None, "skipped": reason}
    told(f"{name} …")
    began = time.monotonic()
    found = run()
    found = {"wanted": wanted, "held": holds(found), **found, "seconds": round(time.monotonic() - began)}
    told(f"{name}:", **found)
    return found


def _told(found: Figures) -> Figures:
    told("scale:", **found)
    return found


def _is_flat(curve: list[Figures]) -> bool:
    largest = max(curve, key=lambda point: point["cells"])
    return bool(largest["memory_end_mb"] - largest["memory_early_mb"] < FLAT_MB and not largest["missing"])


def _markdown(table: dict[str, Figures], curve: list[Figures]) -> str:
    lines = [
        "# Soak",
        "",
        f"`make soak` on {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, "
        f"Python {platform.python_version()}, Ray {version('ray')}. "
        "Several Ray nodes on one machine.",
        "",
        "| fault | must hold | | figures |",
        "|---|---|---|---|",
    ]
    for name, found in table.items():
        verdict = {True: "holds", False: "**does not hold**", None: "skipped"}[found["held"]]
        shown = {key: value for key, value in found.items() if key not in ("wanted", "held")}
        figures = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())
        lines.append(f"| {name} | {found['wanted']} | {verdict} | {figures} |")
    lines += [
        "",
        "## Cells whose work is nothing",
        "",
        f"The driver's memory after a tenth of the units and at the end; all nodes share {psutil.cpu_count()} cores. "
        f"With the most cells it has to grow by less than {FLAT_MB} MB, and "
        f"{'does' if _is_flat(curve) else '**does not**: it grows by more'}.",
        "",
        "| nodes | cells | units a second | driver, early | driver, end | missing |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for point in curve:
        lines.append(
            f"| {point['nodes']} | {point['cells']} | {point['units_per_second']} | {point['memory_early_mb']} MB | "
            f"{point['memory_end_mb']} MB | {point['missing']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
