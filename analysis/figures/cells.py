"""What several pictures tell of cells: those that were planned, and the best of them."""

from collections.abc import Iterable

import pandas as pd

from analysis.data.numbers import share
from analysis.data.results import StudyUnit


def planned_cells(cells: Iterable[StudyUnit]) -> pd.DataFrame:
    """One row a planned cell: where it is, and its status."""
    rows = [[cell.model, cell.pair, cell.layer or 0, cell.depth, cell.weight or 0.0, cell.status] for cell in cells]
    return pd.DataFrame(rows, columns=["model", "pair", "layer", "depth", "weight", "status"])


def best_by_tier(data: pd.DataFrame) -> str:
    """The best cell of every tier in a sentence, for alt text."""
    if data.empty:
        return "No cell has finished."
    best = data.loc[data.groupby("tier", sort=False)["choice"].idxmax()].to_dict("records")
    found = ", ".join(f"{cell['tier']} {share(cell['choice'])} at {cell['depth']:.2f}" for cell in best)
    return f"Best choice accuracy: {found}."
