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
from collections.abc import Sequence
from pathlib import Path

from benchmarks.earlier import COMMIT, checked_out

SMOKE = "configs/smoke.yaml"
NOW = "now"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starting", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.json", help="what was measured")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run, in turn (default 3)")
    options = parser.parse_args()
    before, python = checked_out(COMMIT)
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "finished"
        smoke(Path.cwd(), Path(sys.executable), results, [])
        commands = {"status": ["status", str(results)], "help": ["--help"], "dry run": ["run", SMOKE, "--dry-run"]}
        for turn in range(options.rounds):
            new = Path(folder) / str(turn)
            spent = {
                "smoke": smoke(Path.cwd(), Path(sys.executable), new / NOW, []),
                f"smoke, {COMMIT}": smoke(before, python, new / COMMIT, []),
                "smoke, one process": smoke(
                    Path.cwd(), Path(sys.executable), new / "alone", ["--set", "ray.workers=0"]
                ),
            }
            spent |= {
                name: seconds(Path.cwd(), [sys.executable, "-m", "study", *one]) for name, one in commands.items()
            }
            for name, value in spent.items():
                measured.setdefault(name, []).append(value)
            print(f"round {turn + 1}: {spent}", flush=True)
    options.out.write_text(json.dumps(measured, indent=1) + "\n")


def smoke(code: Path, python: Path, results: Path, more: Sequence[str]) -> float:
    """Return the seconds of the tiny study with its report."""
    places = ["--results", str(results), "--report", f"{results}.md"]
    return seconds(code, [str(python), "-m", "study.grid", SMOKE, *places, *more])


def seconds(code: Path, command: Sequence[str]) -> float:
    """Return the seconds of a command in the folder of its code, to the end of its process."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(code)}
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
