"""Finished units whose files are stand-ins for real ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.config.units import Unit, kind
from study.results.files import write_json, write_rows
from study.results.finished import DONE
from study.results.schema import files_of


def complete(folder: Path, unit: Unit, about: Mapping[str, Any] | None = None) -> None:
    """Write what the folder of an attempt lacks of the files of a finished unit: empty ones; and `done.json`."""
    for name in files_of(kind(unit)):
        if not (folder / name).exists():
            write_rows(folder / name, []) if name.endswith(".parquet") else (folder / name).touch()
    write_json(folder / DONE, about or {})
