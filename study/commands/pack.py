"""`study pack`: pack the rows of a study into a few small files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.results.description import ResultsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 where a unit is left out, 2 where there is nothing to pack."""
    parser = argparse.ArgumentParser(
        prog="study pack",
        description="Pack the rows of a study into a few small files, from which its report can be written.",
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of the study, such as results/smoke"
    )
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder to write, such as reports/data/smoke")
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep the units that TARGET has and RESULTS has not, of a study that is run in pieces",
    )
    options = parser.parse_args(arguments)
    from analysis.data.packing import pack

    try:
        unreadable = pack(options.results, options.target, options.add)
    except (ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in options.target.iterdir())
    for one in unreadable:
        print(f"left out: {one}", file=sys.stderr)
    print(f"{options.target}: {size / 1e6:.1f} MB")
    return 1 if unreadable else 0
