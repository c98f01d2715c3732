"""`study init FILE [MODEL …]`: write a study to begin with, in which every part is explained.

Exit codes: 0, 2 where the file is there or cannot be written, or a model is none.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from study.commands import arguments as given
from study.config import yaml_core
from study.plan.read import ConfigError, read_study
from study.results.files import UnwritableError, write_bytes

USUAL = ("smollm2-135m",)
"""Models of a study for which none is named."""
TEMPLATE = Path(__file__).parent / "init.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    file: Path = options.file
    if file.suffix not in (".yaml", ".yml"):
        print(f"{file} is no YAML file: name one, such as my-study.yaml", file=sys.stderr)
        return 2
    if file.exists():
        print(f"{file} is there already: name another file", file=sys.stderr)
        return 2
    try:
        named = [_from(file.parent, model) for model in options.models] or USUAL
        write_bytes(file, begun(file, named).encode())
        plan = read_study(file)
    except UnwritableError as error:
        print(error, file=sys.stderr)
        return 2
    except ConfigError as error:
        file.unlink()
        print(error, file=sys.stderr)
        return 2
    print(f"{file}: {len(plan.cells())} cells with a class loss. See what they need, then run them:")
    quoted = shlex.quote(str(file))
    print(f"  study run {quoted} --dry-run\n  study run {quoted}")
    return 0


def _from(folder: Path, model: str) -> str:
    """Return what names a model in a study in `folder`: a path that is relative to where the command is run is made
    relative to that folder."""
    place = Path(model)
    if place.is_absolute() or not place.exists():
        return model
    return os.path.join(os.path.relpath(place, folder), "") if place.is_dir() else os.path.relpath(place, folder)


def begun(file: Path, models: Sequence[str]) -> str:
    """Return the text of a study that is called as its file, of these models."""
    name = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in file.stem.lower()).strip("-")
    listed = yaml_core.dump(list(models), default_flow_style=True, width=10**6).strip()
    return TEMPLATE.read_text(encoding="utf-8").replace("{name}", name or "study").replace("{models}", listed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study init", description="Write a study to begin with, in which every part is explained."
    )
    parser.add_argument("file", type=given.path, metavar="FILE", help="file to write, such as my-study.yaml")
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help=f"a folder, a GGUF file, a hub id or a short name of models.yaml (default: {', '.join(USUAL)})",
    )
    return parser.parse_args(arguments)
