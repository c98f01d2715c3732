"""How long `make study` takes to its first report: `python -m benchmarks.first_report OUT.json`.

The study is run into a new folder until its report has the depth curve of every model, and is then stopped.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

CONFIG = Path("configs/grid.yaml")
LONGEST = 3600.0
"""Seconds after which it is stopped whatever it has."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_report", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.json", help="what was measured")
    options = parser.parse_args()
    study: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    wanted = {model: len(study["grid"]["layers"]) for model in study["models"]}
    minutes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.md"
        command = [sys.executable, "-m", "study.grid", str(CONFIG)]
        command += ["--results", str(Path(folder) / "results"), "--report", str(report)]
        began = time.perf_counter()
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None and minutes.keys() != wanted.keys() and time.perf_counter() - began < LONGEST:
            time.sleep(2)
            passed = (time.perf_counter() - began) / 60
            minutes |= {model: passed for model in curves(report, wanted) if model not in minutes}
        for _ in range(2):  # the second ends what runs
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                time.sleep(2)
        process.wait()
    if lacking := wanted.keys() - minutes.keys():
        sys.exit(
            f"no depth curve of {', '.join(sorted(lacking))} within {(time.perf_counter() - began) / 60:.0f} minutes"
        )
    options.out.write_text(json.dumps(minutes, indent=1) + "\n")
    print(json.dumps(minutes))


def curves(report: Path, wanted: dict[str, int]) -> list[str]:
    """Return the models that have all depths of one series in a report, and w = 0 beside it."""
    try:
        means = pd.read_csv(report.with_suffix("") / "table_means.csv")
    except (OSError, ValueError):  # it is being written for the first time
        return []
    plain = means[(means["arm"] == "plain") & means["zero_choice"].notna()]
    depths = plain.groupby("model")["layer"].nunique()
    return [str(model) for model, count in depths.items() if count >= wanted.get(str(model), 1)]


if __name__ == "__main__":
    main()
