"""`python -m analysis.forecasting PACKED`: fit the forecast of `study predict` on the packed rows of a sample.

Writes `analysis/outcomes/forecast.json`, with the commit of the rows.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.data.results import Results, read_results
from analysis.outcomes.answers import accuracies
from analysis.outcomes.explanation import sample_cells
from analysis.outcomes.forecast import DEPTH, FEATURES, Pair, fit, write_forecasts
from analysis.outcomes.levels import levels
from analysis.outcomes.prediction import predictors
from analysis.outcomes.sample import areas
from study.results.description import ResultsError


def fitted(results: Results, commit: str) -> dict[str, Pair]:
    """Return, for each arm that is foretold, its forecast and the one from depth alone. Raises ResultsError where the
    study has no sample of models that learned their task."""
    drawn, found, measured = areas(results, accuracies(results)), levels(results), predictors(results)
    forecasts = {}
    for arm, features in FEATURES.items():
        cells = sample_cells(results, drawn, found, measured, arm)
        if cells.empty:
            raise ResultsError(f"{results.name} has no cells of a sample, of the arm {arm}, to fit a forecast on")
        forecasts[arm] = Pair(*(fit(cells, results.name, commit, columns) for columns in (features, DEPTH)))
    return forecasts


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write the forecasts; returns the exit code, 2 without a folder of packed rows of a sample."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print("usage: python -m analysis.forecasting PACKED, such as reports/data/atlas", file=sys.stderr)
        return 2
    folder = Path(given[0])
    try:
        forecasts = fitted(read_results(folder), _commit(folder))
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_forecasts(forecasts)
    for arm, one in forecasts.items():
        print(arm, one.forecast)
    return 0


def _commit(folder: Path) -> str:
    told = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", str(folder)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main())
