"""What each change of a small model does beside the base: small multiples of differences, by measure and tier."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.axes import head, legend_above, panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import COLOURS
from analysis.outcomes.changes import MEASURES, overall, verdict
from study.config.nursery import BASE

COLOUR = COLOURS[0]


def one_change(results: Results, changes: pd.DataFrame) -> list[Drawing]:
    """A dot and an interval a change, where there is anything to compare: of the pair, weight and wordings that most
    cells have."""
    if changes.empty:
        return []
    where = ["pair", "weight", "wordings"]
    shown = changes[where].value_counts(sort=True).index[0]
    rows = changes[(changes[where] == list(shown)).all(axis=1) & changes["depth"].isna()]
    means = overall(rows)
    found = [row for _, row in means.iterrows() if verdict(row) not in ("no difference shown", "one seed")]
    drawing = Drawing(
        name="changes",
        data=rows.drop(columns="depth"),
        alt=(
            "Difference of each change from the base, by measure and tier. "
            f"{len(found)} of {len(means)} intervals exclude zero."
        ),
        caption=(
            f"Each change minus {BASE}, paired by seed and relative depth, {shown[0]} at w = {shown[1]:g}: means over "
            f"depths, with {share(results.decisions.confidence)} intervals over {results.samples_are} and "
            f"{means['seeds'].max()} seeds, of onset over seeds."
        ),
        draw=lambda: _draw(results, rows, [name for name in MEASURES if name in set(means["measure"])]),
    )
    return [drawing]


def _draw(results: Results, rows: pd.DataFrame, measures: list[str]) -> Figure:
    names = list(dict.fromkeys(rows["change"]))
    figure, axes = panels(len(measures), len(results.tiers), height=0.7 + 0.2 * len(names), x="none")
    for line, name in zip(axes, measures, strict=True):
        of_measure = rows[rows["measure"] == name]
        for ax, tier in zip(line, results.tiers, strict=True):
            here = of_measure[of_measure["tier"] == tier]
            ax.set_visible(not here.empty)
            _panel(ax, here, names, MEASURES[name].scale)
            ax.set_title(tier)
        head(next(ax for ax in line if ax.get_visible()), MEASURES[name].name)
        limits = [end for ax in line if ax.get_visible() for end in ax.get_xlim()]
        for ax in line:
            ax.set_xlim(min(limits), max(limits))
            ax.set_xlabel(MEASURES[name].unit, fontsize=8)
    handles = [
        Line2D([], [], color=COLOUR, marker="o", label="mean over seeds, the interval excludes zero"),
        Line2D([], [], color=COLOUR, marker="o", fillstyle="none", label="it does not"),
        Line2D([], [], color="#999999", marker="|", ls="", label="one seed"),
    ]
    legend_above(figure, handles)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, names: list[str], scale: float) -> None:
    ax.axvline(0, color="#000000", lw=0.8)
    for _, row in rows.iterrows():
        y, x = names.index(row["change"]), scale * row["difference"]
        if pd.notna(row["seed"]):
            ax.plot(x, y, color="#999999", marker="|", ls="")
            continue
        low, high = scale * row["difference_low"], scale * row["difference_high"]
        filled = "full" if low > 0 or high < 0 else "none"
        ax.plot([low, high], [y, y], color=COLOUR, lw=1.2)
        ax.plot(x, y, color=COLOUR, marker="o", fillstyle=filled)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
