"""The study beside an earlier commit of itself: `python -m benchmarks.earlier OUT.json`.

The earlier code and its packages are put into an environment of their own, and both run one small study in turn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from study.commands.environments import FOLDER, environment
from study.models.openblas import packaged
from study.results.store import FOLDERS

COMMIT = "bbd73bf"
STUDY: dict[str, Any] = {
    "name": "earlier",
    "models": ["smollm2-135m", "gemma-3-270m"],
    "nursery": {
        "base": {
            "architecture": "llama",
            "blocks": 4,
            "hidden_size": 96,
            "intermediate_size": 192,
            "attention_heads": 4,
            "tied": True,
        },
        "changes": {"state_space": {"architecture": "mamba2"}},
        "training": {"steps": 300},
    },
    "grid": {"layers": [0.6], "pairs": [{"multiply": "multiply", "add": "add"}], "weights": [0, 0.5]},
    "data": {"largest": 30, "held_out": 0.4},
    "stage1": {"steps": 20},
    "stage2": {"steps": 40, "learning_rate": 3e-4, "lora": {"rank": 8, "alpha": 16.0, "projections": "all"}},
    "evaluation": {"prompts_per_class": 24, "causal_prompts": 8},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.earlier", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.json", help="what was measured")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is run, in turn (default 2)")
    options = parser.parse_args()
    sides = {"now": (Path.cwd(), Path(sys.executable)), COMMIT: checked_out(COMMIT)}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        for name, (code, python) in sides.items():
            measured[name].append(run(code, python))
            print(f"round {turn + 1}, {name}: {measured[name][-1]}", flush=True)
    options.out.write_text(json.dumps(measured, indent=1) + "\n")


def checked_out(commit: str) -> tuple[Path, Path]:
    """Return the folder with the code of a commit, and the Python of an environment with its locked packages."""
    code = (FOLDER / f"study-{commit}").absolute()
    if not code.exists():
        code.mkdir(parents=True)
        packed = subprocess.run(["git", "archive", commit], capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", str(code)], input=packed.stdout, check=True)
    python = environment(code / "requirements.lock")
    for library in python.parent.parent.glob("lib/python*/site-packages/cmeel.prefix/lib/libopenblas*"):
        library.unlink()  # built for processors with AVX-512 alone
    return code, python


def same_blas(folder: Path) -> dict[str, str]:
    """Return the variable by which an earlier commit, which looks for the system's OpenBLAS where it has none of its
    own, finds the one of today."""
    blas = packaged()
    if not blas:
        return {}
    (folder / "lib").mkdir()
    (folder / "lib" / "libopenblas.so.0").symlink_to(blas)
    return {"LD_LIBRARY_PATH": str(folder / "lib")}


def run(code: Path, python: Path) -> dict[str, float]:
    """Return the seconds of the whole command, and the seconds of all units by kind and part."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "earlier.yaml").write_text(yaml.safe_dump(STUDY))
        (place / "models.yaml").write_text((code / "configs" / "models.yaml").read_text())
        command = [str(python), "-m", "study.grid", str(place / "earlier.yaml")]
        command += ["--results", str(place / "results"), "--report", str(place / "report.md")]
        environment_of_run = {**os.environ, **same_blas(place), "PYTHONPATH": str(code)}
        began = time.perf_counter()
        done = subprocess.run(command, cwd=code, env=environment_of_run, check=False)
        spent = {"wall": time.perf_counter() - began}
        if done.returncode:
            sys.exit(f"the study of {code} ended with {done.returncode}")
        for kind, sub in FOLDERS.items():
            for file in (place / "results" / sub).glob("*/done.json"):
                for part, seconds in json.loads(file.read_text())["seconds"].items():
                    name = f"{kind}: {part}"
                    spent[name] = spent.get(name, 0.0) + seconds
        return spent


if __name__ == "__main__":
    main()
