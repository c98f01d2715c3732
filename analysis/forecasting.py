"""`python -m analysis.forecasting PACKED`: fit the forecast of `study predict` on the packed rows of a sample.

Writes `analysis/outcomes/forecast.json`, with the commit of the rows.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.data.results import Results, read_results
from analysis.outcomes.answers import accuracies
from analysis.outcomes.explanation import sample_cells
from analysis.outcomes.forecast import DEPTH, fit, write_forecasts
from analysis.outcomes.levels import levels
from analysis.outcomes.prediction import predictors
from analysis.outcomes.sample import areas
from study.results.description import ResultsError


def places(results: Results) -> pd.DataFrame:
    """Return the places of a sample that a forecast is fitted on. Raises ResultsError where the study has no sample."""
    found = sample_cells(results, areas(results, accuracies(results)), levels(results), predictors(results))
    if found.empty:
        raise ResultsError(f"{results.name} has no sample of small models to fit a forecast on")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write the forecast; returns the exit code, 2 without a folder of packed rows of a sample."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print("usage: python -m analysis.forecasting PACKED, such as reports/data/atlas", file=sys.stderr)
        return 2
    folder = Path(given[0])
    try:
        results = read_results(folder)
        found, commit = places(results), _commit(folder)
        forecast = fit(found, results.name, commit)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_forecasts(forecast, fit(found, results.name, commit, features=DEPTH))
    print(forecast)
    return 0


def _commit(folder: Path) -> str:
    told = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", str(folder)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main())
