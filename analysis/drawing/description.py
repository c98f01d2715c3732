"""What the report's pictures show, described once for matplotlib, which draws the files, and for the page's charts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from analysis.data.files import to_csv

CELL = ("model", "pair", "layer", "depth", "weight", "seed")
"""Columns that say which cell a row is of."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A figure of the report: files `name`.svg, or .png where it has many marks, and .csv."""

    name: str
    data: pd.DataFrame
    alt: str
    caption: str

    @property
    def csv(self) -> bytes:
        """The rows that are drawn."""
        return to_csv(self.data)


@dataclass(frozen=True, kw_only=True)
class Drawing(Described):
    """A picture that is drawn by matplotlib alone, so that the page shows the drawing."""

    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Look:
    """How one of several series is told from the others."""

    colour: str = "#555555"
    marker: str = "o"
    line: str = "-"
    fill: Any = "full"
    width: float = 1.6
    """Width of its curves in matplotlib's points."""


@dataclass(frozen=True)
class Series:
    """The values of a column that have a look each, in the order of the legend."""

    column: str
    looks: Mapping[Any, Look]
    labels: Mapping[Any, str] = field(default_factory=dict)
    """What the legend calls a value, where that is not the value itself."""
    title: str = ""
    """What the page's legend calls the column, where that is not its name."""

    def label(self, value: Any) -> str:
        return self.labels.get(value, str(value))


@dataclass(frozen=True)
class Facet:
    """The values of a column that have a row or column of panels each, in their order."""

    column: str
    values: Sequence[Any]
    names: Mapping[Any, str] = field(default_factory=dict)
    """What a panel's title calls a value, where that is not the value itself."""
    page_prefix: str = ""
    """What stands before a value on the page."""

    def name(self, value: Any) -> str:
        return self.names.get(value, str(value))


@dataclass(frozen=True)
class Panels:
    """Small multiples: rows and columns of panels, or one panel a column that wrap."""

    columns: Facet
    rows: Facet | None = None
    wrap: int = 0
    """How many panels stand side by side where there are no rows."""
    title: str = "{row} · {column}"
    title_style: Mapping[str, Any] = field(default_factory=dict)
    """How matplotlib writes the titles."""
    shared_x: bool = True


@dataclass(frozen=True)
class Axis:
    """The column that lies along an axis, what it is called, and where the axis ends."""

    column: str
    label: str
    page_label: str = ""
    """The label on the page, where it is another."""
    scale: Literal["linear", "share", "points", "log odds", "log", "ordinal"] = "linear"
    """`share` and `points` are labelled in percent and in points; `log odds` are labelled in p."""
    ends: tuple[float, float] | None = None
    low: str = ""
    """Column with the lower ends of the intervals along the axis."""
    marked: tuple[float, ...] = ()
    """Values that have a dotted line across the panel, and so lie within the axis."""
    names: Mapping[Any, str] = field(default_factory=dict)
    """What matplotlib calls each value of an ordinal axis, in their order."""

    def lowest(self, rows: pd.DataFrame) -> float:
        """The lowest value that lies within the axis where it shows `rows`; a half where there is none."""
        return float(min([*self.marked, *rows[self.low or self.column].dropna()], default=0.5))


@dataclass(frozen=True)
class Rule:
    """A line across every panel at a value of the y axis."""

    at: float
    line: str = "-"
    label: str = ""
    """What the legend calls it, where it is named."""
    on_page: bool = True


@dataclass(frozen=True, kw_only=True)
class Panelled(Described):
    """What all kinds of charts have in common; both renderers draw every kind."""

    panels: Panels
    x: Axis
    y: Axis
    tooltip: tuple[str, ...]
    """Columns that the page tells of what is pointed at."""
    size: tuple[float, float]
    """Width and height of a panel in inches."""
    page_size: tuple[int, int]
    """Width and height of a panel on the page in pixels."""
    heading: str = ""
    """What matplotlib writes above all panels."""
    planned: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["depth", "status"]))
    """Every planned cell and its status: where none has finished, matplotlib says so."""


@dataclass(frozen=True, kw_only=True)
class DepthCurves(Panelled):
    """A curve a series, the mean over seeds, with every cell as a point and its interval; chance is a dotted line."""

    series: Series
    lines: Series | None = None
    """Series that share a panel and are told apart by their lines."""


@dataclass(frozen=True, kw_only=True)
class HeatMap(Panelled):
    """A tile for each value of two ordinal axes, coloured by the column `value`, from 0 to 1: the mean over seeds."""

    value_label: str
    means: tuple[str, ...]
    """Columns whose means the page tells of a tile."""


@dataclass(frozen=True, kw_only=True)
class LensProfile(Panelled):
    """A curve a series: the geometric mean over seeds, from the logarithms that the column of the y axis holds."""

    series: Series
    mark_label: str
    """What the legend calls the band at the trained layer."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Panelled):
    """A point a cell with its intervals both ways, p in log odds along x and a difference in points along y."""

    series: Series
    fills: Series
    """Series that share a panel, stand side by side and are told apart by how their markers are filled."""
    rules: tuple[Rule, ...]


@dataclass(frozen=True, kw_only=True)
class Scatter(Panelled):
    """A point a cell."""

    series: Series


Chart = DepthCurves | HeatMap | LensProfile | Comparison | Scatter
Picture = Chart | Drawing
