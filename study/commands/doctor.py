"""`study doctor`: what a study would run on, on this machine or a cluster, how fast, and what is missing.

Exit codes: 0 no problems, 1 some problems.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlx.core as mx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.cluster import ClusterError, connect, share
from actors.environment import blas_threads
from actors.nodes import described, marked, survey
from actors.nodes import problems as found_in
from study.commands import arguments as given
from study.commands.estimate import Speed, remember
from study.commands.tables import show_table
from study.config.study import RaySettings
from study.models import blas
from study.models.activations import on_cpu
from study.models.cache import locate
from study.models.cache_root import cache_root
from study.plan.read import read_catalogue
from study.results.terminal import own_console
from study.training import compilation
from study.version import __version__

NEEDED_GB = 10
"""Disk space that the study of configs/grid.yaml needs at most, downloads and conversions included, GB."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print everything, problems last, each with what to do; returns the exit code, 1 if there are problems."""
    asked = _parse(arguments)
    problems = [blas.problem()] if blas.problem() and not asked.address else []
    console = own_console()
    if asked.address:
        _cluster(asked.address, asked.results.resolve(), problems)
    else:
        measured = [*_speed(problems), *_compilation(problems)]
        lines = [*_machine(), *measured, *_ray(), *_folders(asked.results, problems), *_models(problems)]
        console.print(_side_by_side(lines))
    if asked.certify and not asked.address:
        _certify(problems, console)
    told = [f"problem: {problem}" for problem in problems]
    told.append(f"problems: {len(problems)}" if problems else "no problems found")
    console.print("\n".join(["", *told]), markup=False)
    return 1 if problems else 0


def _certify(problems: list[str], console: Console) -> None:
    """Run the reference study and print what it finds; add a problem where it does not agree with the known rows."""
    from study.pipeline.certificate import certify, record

    console.print("\nrunning the reference study …", markup=False)
    try:
        checks = certify()
        file = record(checks)
    except (OSError, RuntimeError) as error:
        problems.append(f"there is no certificate: {error}")
        return
    rows = [
        (check.name, f"{check.figure:.2g}", f"{check.limit:.2g}", "yes" if check.agrees else "NO") for check in checks
    ]
    show_table(console, ("check", "largest", "limit", "agrees"), rows)
    console.print(f"{file}, of which the units that run here, and their reports, tell", markup=False)
    if wrong := [check.name for check in checks if not check.agrees]:
        problems.append(
            f"this machine's numbers are not those of the reference study ({'; '.join(wrong)}): results of it are not "
            "to be set beside those of other machines"
        )


def _side_by_side(lines: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, line in lines:
        table.add_row(Text(f"{name}:"), Text(line, overflow="fold"))
    return table


def _cluster(address: str, results: Path, problems: list[str]) -> None:
    """Print a line for every node of a cluster, for a study whose results folder is in `results`; add problems."""
    try:
        with connect(RaySettings(), address), marked(results) as mark:
            nodes = survey(results, mark)
    except (ClusterError, OSError) as error:
        problems.append(str(error))
        return
    print("\n".join(described(nodes)))
    problems += found_in(nodes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study doctor",
        description="Say what a study would run on, on this machine or a cluster, and what is missing.",
    )
    parser.add_argument(
        "--address",
        type=given.address,
        metavar="HOST:PORT",
        help="check every node of this Ray cluster (default: this machine)",
    )
    parser.add_argument(
        "--results",
        type=given.folder,
        default=Path("results"),
        metavar="DIR",
        help="results folder to check (default: results)",
    )
    parser.add_argument(
        "--certify",
        action="store_true",
        help="run a small study whose rows are known, and say whether this machine's numbers agree",
    )
    return parser.parse_args(arguments)


def _machine() -> Iterator[tuple[str, str]]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    yield "platform", f"{platform.platform()}, {os.cpu_count()} cores, {memory:.0f} GB memory"
    yield "python", platform.python_version()
    yield "study", __version__
    for package in ("mlx", "mlx-lm", "ray"):
        yield package, _version(package)
    yield "MLX device", str(mx.default_device())
    loaded = blas.load()
    yield "BLAS of MLX", f"{loaded.name}, {loaded.path}" if loaded else "MLX's own"


def _speed(problems: list[str]) -> Iterator[tuple[str, str]]:
    """Measure GFLOP/s for each number of threads, in a process of its own, since only the environment sets it.

    The speed of a worker is recorded, for the time that a dry run estimates.
    """
    divided = share(RaySettings())
    for threads in sorted({1, divided.workers * divided.threads}):
        if not (measured := _measure([], problems, blas_threads(threads))):
            return
        of_mlx, of_numpy = (float(figure) for figure in measured.split())
        if threads == divided.threads:
            remember(Speed(of_mlx, divided.workers))
        name = f"float32, {threads} thread{'s' * (threads > 1)}"
        yield name, f"MLX {of_mlx:.0f} GFLOP/s, numpy {of_numpy:.0f} GFLOP/s"


def _measure(arguments: list[str], problems: list[str], environment: Mapping[str, str]) -> str:
    """Return the output of study.commands.speed; empty, with a problem added, where it fails."""
    command = [sys.executable, "-m", "study.commands.speed", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        problems.append(f"`python -m {' '.join(command[2:])}` failed, which measures this machine: {last}")
        return ""
    return done.stdout


def _compilation(problems: list[str]) -> Iterator[tuple[str, str]]:
    """Measure on a GPU whether compiling steps saves time, and record it for training; on a CPU it never does."""
    if on_cpu():
        yield (
            "compiled steps",
            "no: on a CPU they need a C++ compiler (`python -m study.commands.speed compilation` measures)",
        )
        return
    if not (measured := _measure(["compilation"], problems, {})):
        return
    gain = compilation.gain(json.loads(measured))
    yield "compiled steps", f"{'yes' if gain > 1 else 'no'}: a stage of {compilation.STEPS} steps takes 1/{gain:.2f}"


def _ray() -> Iterator[tuple[str, str]]:
    divided = share(RaySettings())
    yield "Ray", f"a private cluster would run {divided.workers} at a time, {divided.threads} BLAS thread(s) each"


def _folders(results: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    for name, folder, setting in (("models", cache_root(), "STUDY_CACHE"), ("results", results, "--results")):
        there = next(parent for parent in [folder.resolve(), *folder.resolve().parents] if parent.is_dir())
        free = shutil.disk_usage(there).free / 1e9
        yield f"{name} lie in", f"{folder.resolve()} ({free:.0f} GB free)"
        if not os.access(there, os.W_OK):
            problems.append(f"{there} cannot be written to: choose another folder for {name} with {setting}")
        if free < NEEDED_GB:
            problems.append(f"{there} has {free:.1f} GB free of {NEEDED_GB} needed: set another folder with {setting}")


def _models(problems: list[str]) -> Iterator[tuple[str, str]]:
    file = Path("configs") / "models.yaml"
    mistakes: list[str] = []
    for name, model in (read_catalogue(file, mistakes) or {}).items():
        folder = locate(model)
        yield name, f"in {folder}" if folder else "not here yet: a study fetches it when it needs it"
    problems += [f"{file}: {mistake}" for mistake in mistakes]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
