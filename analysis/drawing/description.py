"""What the report's pictures show, described once for matplotlib, which draws the files, and for the page's charts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from analysis.data.files import to_csv

DRAWN, ROW, PANEL, SERIES = "drawn", "row", "panel", "series"
"""Columns that say of every row by which marks it is drawn, in which row of panels and panel, and in whose look."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A figure of the report: files `name`.svg, or .png where it has many marks, and the table of what is drawn."""

    name: str
    data: pd.DataFrame
    alt: str
    caption: str

    @property
    def csv(self) -> bytes:
        """The rows that are drawn, with the digits that files have."""
        return to_csv(self.data)


@dataclass(frozen=True, kw_only=True)
class Drawing(Described):
    """A picture that is drawn by matplotlib alone, so that the page shows the drawing."""

    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Look:
    """How one of several series is told from the others."""

    colour: str = "#555555"
    marker: str = ""
    """Empty where the series has no points."""
    line: str = ""
    """Empty where the series has no lines."""


@dataclass(frozen=True)
class Axis:
    """The column that lies along an axis, what it is called, and where the axis ends."""

    column: str
    label: str
    short: str = ""
    """The label on the page, whose panels are smaller, where it is another."""
    scale: Literal["number", "share", "points", "powers", "named"] = "number"
    """`share` and `points` are labelled in percent and in points; `powers` is logarithmic; on a `named` axis every text
    of the column has a place."""
    ends: tuple[float, float] | None = None
    values: Sequence[float] = ()
    """Those that are labelled, where it is not left to the renderer."""
    names: Sequence[str] = ()
    """The texts of a named axis, from the top."""


@dataclass(frozen=True)
class Marks:
    """How the rows are drawn whose column DRAWN says `of`."""

    of: str
    kind: Literal["line", "points", "intervals", "ticks", "levels", "bands"]
    """Lines and points; intervals from `COLUMN_low` to `COLUMN_high` of the axis of values, and short ticks across it;
    levels, which are lines through a panel at a value; and bands through a panel at a place."""
    by: tuple[str, ...] = ()
    """Columns that tell apart the lines of one series."""
    width: float = 1.6
    """Of lines in points."""
    size: float = 5.5
    """Of points and ticks in points."""
    opacity: float = 1.0
    line: str = ""
    """How lines are dashed, where that is not up to their series."""
    label: str = ""
    """What the legend of the drawing calls them, where it does."""
    sample: str = ""
    """What stands in the legend, where that is not a line: a marker."""


@dataclass(frozen=True)
class Rule:
    """A line through every panel at a value."""

    at: float
    label: str = ""
    """What the legend of the drawing calls it, where it does."""
    line: str = "-"
    faint: bool = False
    beyond: bool = False
    """Whether all below it is shaded."""


@dataclass(frozen=True, kw_only=True)
class Chart(Described):
    """Small multiples of one kind, which both renderers draw."""

    rows: Mapping[str, Sequence[str]]
    """Rows of panels by their heading, which may be empty: the titles of the panels, from the left."""
    x: Axis
    y: Axis
    values: Literal["x", "y"] = "y"
    """The axis of values, along which intervals lie."""
    looks: Mapping[str, Look]
    """The series in the order of the legend."""
    marks: Sequence[Marks]
    """From the back to the front."""
    rules: Sequence[Rule] = ()
    """At values."""
    tooltip: Sequence[str]
    """Columns that the page tells of what is pointed at, beside the value with its interval."""
    legend: str = ""
    """What the page's legend calls the series."""
    wrap: int = 5
    """Panels side by side in the drawing."""
    height: float = 1.7
    """Of a panel in inches."""
    page_size: tuple[int, int] = (200, 150)
    """Width and height of a panel on the page in pixels."""
    ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where the axis of values ends in rows of panels that have one of their own, by heading. Panels of one row always
    share it; what goes on beyond is cut off."""

    @property
    def along(self) -> Axis:
        """The axis of values."""
        return self.y if self.values == "y" else self.x

    @property
    def across(self) -> Axis:
        """The other axis."""
        return self.x if self.values == "y" else self.y

    def within(self, heading: str) -> "Chart":
        """The chart with the axis of values that a row of panels has."""
        if heading not in self.ends:
            return self
        own = replace(self.along, ends=self.ends[heading])
        return replace(self, y=own) if self.values == "y" else replace(self, x=own)

    def of(self, marks: Marks) -> pd.DataFrame:
        """The rows that these marks draw."""
        return self.data[(self.data[DRAWN] == marks.of) & self.data[self._needed(marks)].notna().all(axis=1)]

    def _needed(self, marks: Marks) -> list[str]:
        along, across = self.along.column, self.across.column
        needed = {"levels": [along], "bands": [across], "intervals": [across, f"{along}_low", f"{along}_high"]}
        return needed.get(marks.kind, [across, along])


Picture = Chart | Drawing
