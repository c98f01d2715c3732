"""Colours, markers, lines and scales that several pictures share, whichever renderer draws them."""

from collections.abc import Iterable
from itertools import cycle
from typing import Any

import numpy as np

Style = tuple[str, str]
"""Colour and marker."""
TIER_STYLES: list[Style] = [
    *(("#000000", "o"), ("#0072B2", "s"), ("#D55E00", "^"), ("#E69F00", "D")),
    *(("#009E73", "v"), ("#CC79A7", "P"), ("#56B4E9", "X"), ("#7F7F7F", "*")),
]
STAGE_STYLES = {
    "baseline": ("#999999", ":"),
    "stage 1": ("#000000", "--"),
    "w = 0": ("#56B4E9", "-."),
    "stage 2": ("#D55E00", "-"),
}
SERIES = [
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#E69F00", "D")),
    *(("#CC79A7", "v"), ("#000000", "P"), ("#56B4E9", "X"), ("#7F7F7F", "*")),
]
LINES = ["-", "--", ":", "-."]
FILLS: list[Any] = ["full", "none", "left", "top"]
MISSING = "#D9D9D9"
HEAT = "viridis"
WHITE_TEXT_BELOW = 0.6
"""On tiles with lower values text is white."""
ODDS_LIMIT = 4.0
MARKS = (0.001, 0.1, 0.5, 0.9, 0.99, 0.999)
"""Probabilities that are named on an axis in log odds."""
DEPTH_LABEL = "relative depth of the trained layer"


def line(index: int) -> str:
    """How the curves of the index-th token pair are drawn."""
    return LINES[index % len(LINES)]


def fill(index: int) -> Any:
    """How the markers of the index-th token pair are filled."""
    return FILLS[index % len(FILLS)]


def series_style(index: int) -> Style:
    """The style of the index-th of series that are no tiers."""
    return SERIES[index % len(SERIES)]


def tier_styles(tiers: Iterable[str]) -> dict[str, Style]:
    """The style of each tier, by its place among all of them."""
    return dict(zip(tiers, cycle(TIER_STYLES), strict=False))


def log_odds(p: float) -> float:
    """Decimal log odds, held within `odds_domain`: where p is near 1 everywhere, p itself shows nothing."""
    return float(np.clip(np.log10(max(p, 1e-9)) - np.log10(max(1 - p, 1e-9)), -ODDS_LIMIT, ODDS_LIMIT))


def odds_domain(lowest: float) -> tuple[float, float]:
    """Ends of an axis in log odds for p from `lowest` on."""
    return log_odds(lowest) - 0.3, ODDS_LIMIT + 0.2
