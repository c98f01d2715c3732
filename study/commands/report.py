"""`study report`: write the report of a study again from its rows alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.results.description import ResultsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 where something is left out, 2 where there is no report."""
    parser = argparse.ArgumentParser(
        prog="study report", description="Write the report of a study again from its rows; needs neither MLX nor Ray."
    )
    parser.add_argument(
        "--results",
        type=Path,
        required=True,
        metavar="DIR",
        help="results folder or packed study, such as results/smoke or reports/data/seed",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.md",
        help="the report; an HTML page and a folder of figures are written beside it",
    )
    options = parser.parse_args(arguments)
    from analysis.report import write_report

    try:
        left_out = write_report(options.results, options.out)
    except (ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for one in left_out:
        print(f"left out: {one}", file=sys.stderr)
    print(options.out)
    return 1 if left_out else 0
