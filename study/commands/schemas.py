"""`study schemas`: the JSON Schemas of study files and of `models.yaml`, for editors."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from study.plan.read import write_schemas


def main(arguments: Sequence[str] | None = None) -> int:
    """Write `study.schema.json` and `models.schema.json`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="study schemas", description="Write the JSON Schemas of study files and of models.yaml, for editors."
    )
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("configs"),
        metavar="FOLDER",
        help="folder to write them into (default: configs)",
    )
    folder = parser.parse_args(arguments).folder
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder")
    write_schemas(folder)
    return 0
