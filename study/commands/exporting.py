"""`--export`: the checkpoints of one cell, as mlx-lm loads them."""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from study.config.units import Cell, Unit
from study.plan.selection import SelectionError
from study.results.files import writing
from study.results.finished import DamagedError
from study.results.store import Store


def to_export(chosen: list[Unit], folder: Path, results: Path | None) -> Cell:
    """Return the cell whose checkpoints are to be written. Raises SelectionError if not exactly one is chosen, or
    something may be overwritten in the folder."""
    if folder.is_dir() and any(folder.iterdir()):
        raise SelectionError(f"--export {folder}: the folder is not empty; name a new one")
    if folder.resolve().is_relative_to((results or Path("results")).resolve()):
        raise SelectionError(f"--export {folder}: it lies among results; name another place")
    cells = [unit for unit in chosen if isinstance(unit, Cell)]
    if len(cells) != 1:
        raise SelectionError(
            f"--export writes the checkpoints of one cell, and {len(cells)} are chosen: pick one with --only, such as "
            f"--only id={cells[-1].id} for {cells[-1].label}"
        )
    return cells[0]


def write_checkpoints(cell: Cell, store: Store, folder: Path, console: Console) -> int:
    """Write the checkpoints of a cell; return the exit code, 1 if it is not done, 2 if its model cannot be loaded."""
    from study.models import ModelError
    from study.pipeline.export import DIRECTIONS, STAGE2, TRANSLATORS, export, model_place

    status = store.status(cell)
    if status.state != "done":
        console.print(f"nothing is exported: {cell.label} is {status.state}: {status.reason}", markup=False)
        return 1
    try:
        with writing(folder):
            export(cell, store, folder)
    except ModelError as error:
        print(f"nothing is exported: {error}", file=sys.stderr)
        return 2
    except DamagedError as error:
        print(f"nothing is exported: {error}", file=sys.stderr)
        return 1
    command = [
        "python",
        "-m",
        "mlx_lm",
        "generate",
        "--model",
        str(folder / model_place(cell)),
        "--adapter-path",
        str(folder / STAGE2),
    ]
    console.print(f"exported: {shlex.join(command)}", markup=False)
    for place, what in ((DIRECTIONS, "class directions, and a page on them"), (TRANSLATORS, "the lens of the class")):
        if (folder / place).exists():
            console.print(f"{what}: {folder / place}", markup=False)
    return 0
