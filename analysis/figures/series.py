"""What the charts of several models have in common: which cells they show, and how their series are told apart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.units import StudyUnit
from analysis.drawing.description import DRAWN, PANEL, ROW, SERIES, Axis, Look, Rule
from analysis.drawing.style import DEPTH_LABEL, colour, line, marker
from analysis.outcomes.depth import READABLE
from study.config.base import content_hash

FEW = 5
"""Trained depths of a model that have a panel each."""
MOST_PANELED = 6
"""Models that have panels or a picture of their own: of more the first ones are drawn."""
MOST_MAPPED = 2
"""Pairs of class tokens that a picture of training shows, each with rows of maps of its own."""
MOST_SERIES = 12
"""Models and pairs of class tokens that a chart tells apart: of more pairs the first ones are drawn."""
TITLE = 34
"""Letters of a model's name in a title or legend; of a longer one both ends are told, and a digest."""


@dataclass(frozen=True)
class Shown:
    """The cells that a report's charts show."""

    weight: float
    wordings: str
    """Joined by `+`, as in the frames."""
    pairs: tuple[str, ...]

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the cells that are shown."""
        same = (frame["weight"] == self.weight) & (frame["wordings"] == self.wordings)
        return frame[same & frame["pair"].isin(self.pairs)]

    def has(self, cell: StudyUnit) -> bool:
        """Return whether a cell is shown."""
        return (cell.weight, "+".join(cell.wordings)) == (self.weight, self.wordings) and cell.pair in self.pairs

    @property
    def words(self) -> str:
        """What they were trained on."""
        return " and ".join(self.wordings.split("+"))


def shown(results: Results, wordings: tuple[str, ...]) -> Shown:
    """Return what charts of cells that were trained on these wordings show: the weight that most cells have, and the
    first pairs of class tokens where there are more than a chart can tell apart."""
    return Shown(results.shown_weight, "+".join(wordings), tuple(shown_pairs(results)))


def shown_pairs(results: Results) -> list[str]:
    """Return the pairs of class tokens that charts show."""
    return results.pairs[: max(1, MOST_SERIES // len(results.model_names))]


def paneled_models(results: Results) -> list[str]:
    """Return the models that have panels or a picture of their own."""
    return results.model_names[:MOST_PANELED]


def looks(results: Results, frame: pd.DataFrame) -> dict[str, Look]:
    """Return the look of each model and pair of the frame, by the name in its column SERIES: a colour a model, and a
    marker and a line a pair."""
    there = set(zip(frame["model"], frame["pair"], strict=True))
    found: dict[str, Look] = {}
    several = frame["pair"].nunique() > 1
    for p, pair in enumerate(results.pairs):
        for m, model in enumerate(results.model_names):
            if (model, pair) in there:
                look = Look(colour(m), marker(m + p * len(results.model_names)), line(p))
                found[_series(model, pair, several)] = look
    return found


def with_series(frame: pd.DataFrame, several: bool) -> pd.DataFrame:
    """Return the frame with the column SERIES: the model, and the pair where the chart has several, of which this part
    of it may have but one."""
    names = [_series(model, pair, several) for model, pair in zip(frame["model"], frame["pair"], strict=True)]
    return frame.assign(**{SERIES: names})


def _series(model: str, pair: str, several: bool) -> str:
    return f"{short(model)} · {pair}" if several else short(model)


def short(name: str) -> str:
    """Return a name that is short enough for a title."""
    return name if len(name) <= TITLE else f"{name[:18]}…{name[-9:]} {content_hash(name)[:4]}"


def stacked(parts: Mapping[str, pd.DataFrame], columns: Iterable[str]) -> pd.DataFrame:
    """Return frames under each other, with the marks that draw each in the column DRAWN."""
    wanted = [DRAWN, ROW, PANEL, SERIES, *columns]
    filled = [part.assign(**{DRAWN: drawn}) for drawn, part in parts.items() if not part.empty]
    if not filled:
        return pd.DataFrame(columns=wanted)
    return pd.concat([part.reindex(columns=wanted) for part in filled], ignore_index=True)


def in_panel(frame: pd.DataFrame, heading: Any, title: Any) -> pd.DataFrame:
    """Return the frame with the row of panels and the panel of its rows: one for all, or one each."""
    return frame.assign(**{ROW: heading, PANEL: title})


def aside(frame: pd.DataFrame, names: Iterable[str], step: float) -> "pd.Series[float]":
    """Return the depths of a frame, moved so that the series of one depth stand side by side, `step` apart."""
    order = {name: i for i, name in enumerate(names)}
    places: pd.Series[float] = frame["depth"] + (frame[SERIES].map(order) - (len(order) - 1) / 2) * step
    return places


def bounded(differences: pd.DataFrame, least: float) -> tuple[float, float]:
    """Return ends of an axis of differences that lie beyond all of them, and beyond minus and plus `least`.

    They are beyond the intervals too, up to twice the largest difference: those of two seeds may be as long as the
    scale, and would leave nothing to be seen of all else.
    """
    values = differences["difference"]
    limit = max(2 * float(values.abs().max()), 2 * least)
    low, high = differences["difference_low"].min(), differences["difference_high"].max()
    pad = 0.05 * limit
    return max(min(low, -least), -limit) - pad, min(max(high, least), limit) + pad


def cut_off(differences: pd.DataFrame, low: "float | pd.Series[float]", high: "float | pd.Series[float]") -> str:
    """Return a sentence on the intervals that axes of differences cut off at their ends; empty where there are none."""
    beyond = (differences["difference_low"] < low) | (differences["difference_high"] > high)
    return f" {beyond.sum()} intervals go on beyond their panel." if beyond.any() else ""


def spread(depths: Iterable[float]) -> list[float]:
    """Return the depths, or FEW of them that are spread evenly, the first and the last among them."""
    every = sorted(set(depths))
    if len(every) <= FEW:
        return every
    return [every[i] for i in np.linspace(0, len(every) - 1, FEW).round().astype(int)]


def depth_axis(column: str = "depth", label: str = DEPTH_LABEL) -> Axis:
    """Return an axis of relative depth."""
    return Axis(column, label, "relative depth", ends=(0.0, 1.04), values=(0.0, 0.5, 1.0))


def choice_axis(lowest: float, column: str = "choice") -> Axis:
    """Return an axis of choice accuracy, from just below the lowest."""
    ends = (max(round(lowest - 0.05, 2), -0.03), 1.03)
    return Axis(
        column, "choice accuracy", scale="share", ends=ends, values=[v for v in (0, 0.25, 0.5, 0.75, 1) if v >= ends[0]]
    )


def choice_rules(results: Results) -> list[Rule]:
    """Return the lines of chance and of READABLE."""
    chances = sorted({cell.chance for cell in results.plain})
    dotted = [Rule(chance, "chance" if i == 0 else "", ":") for i, chance in enumerate(chances)]
    return [Rule(READABLE, f"{100 * READABLE:.0f} %", faint=True), *dotted]


def chance_in_words(results: Results) -> str:
    """Return the chances of the cells, in percent."""
    return " or ".join(f"{100 * chance:.3g} %" for chance in sorted({cell.chance for cell in results.plain}))


def sampled(seeds: "pd.Series[int]") -> str:
    """Return what intervals are over, by the numbers of seeds of what has one."""
    if seeds.max() == 1:
        return "templates"
    return "templates and seeds" + (" (of a single seed: over its templates)" if seeds.min() == 1 else "")


def counted(numbers: "Iterable[float] | pd.Series[float]", name: str) -> str:
    """Return how many there are in each row: `3 seeds`, or `1 to 3 seeds`."""
    values = sorted({int(number) for number in numbers})
    if not values:
        return f"no {name}s"
    if len(values) == 1:
        return f"{values[0]} {name}{'' if values[0] == 1 else 's'}"
    return f"{values[0]} to {values[-1]} {name}s"
