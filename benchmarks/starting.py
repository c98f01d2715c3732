"""How long small things take: `python -m benchmarks.starting OUT.json`.

The tiny study, by Ray and in one process, beside the commit of `benchmarks.earlier`, which has Ray alone; and commands
that run nothing. All in turn, on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.earlier import COMMIT, checked_out, same_blas

SMOKE = "configs/smoke.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starting", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.json", help="what was measured")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run, in turn (default 3)")
    options = parser.parse_args()
    code, python = Path.cwd(), Path(sys.executable)
    before = checked_out(COMMIT)
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        results, blas = Path(folder) / "finished", same_blas(Path(folder))
        smoke(code, python, results)
        commands = {"status": ["status", str(results)], "help": ["--help"], "dry run": ["run", SMOKE, "--dry-run"]}
        for turn in range(options.rounds):
            new = Path(folder) / str(turn)
            spent = {
                "now": smoke(code, python, new / "now"),
                COMMIT: smoke(*before, new / COMMIT, variables=blas),
                "one process": smoke(code, python, new / "one", ["--set", "ray.workers=0"]),
            }
            spent |= {name: seconds(code, [str(python), "-m", "study", *one]) for name, one in commands.items()}
            for name, value in spent.items():
                measured.setdefault(name, []).append(value)
            print(f"round {turn + 1}: {spent}", flush=True)
    options.out.write_text(json.dumps(measured, indent=1) + "\n")


def smoke(
    code: Path, python: Path, results: Path, more: Sequence[str] = (), variables: Mapping[str, str] = {}
) -> float:
    """Return the seconds of the tiny study with its report."""
    places = ["--results", str(results), "--report", f"{results}.md"]
    return seconds(code, [str(python), "-m", "study.grid", SMOKE, *places, *more], variables)


def seconds(code: Path, command: Sequence[str], variables: Mapping[str, str] = {}) -> float:
    """Return the seconds of a command in the folder of its code, to the end of its process."""
    began = time.perf_counter()
    environment = {**os.environ, **variables, "PYTHONPATH": str(code)}
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
