"""Where several lenses read a class token: levels by layer, the layer from which each does, and where they agree."""

import math

import numpy as np
import pandas as pd

from analysis.data.samples import by_sample, few_templates, order_of_pairs
from analysis.outcomes.depth import READABLE
from analysis.statistics.intervals import Floats, bounds, columns, interval_of, levels
from study.config.lenses import LENSES
from study.config.names import NOBODY

READ, NOT_READ, UNDECIDED = "read", "not read", "undecided"
ALL, NONE, APART = "all", "none", "apart"
"""What lenses agree on at a layer: each reads the class, none does, or one does and another does not."""
PLACE = ["pair", "tier"]


def lens_levels(choices: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return one row for each lens, pair of class tokens, tier and layer of a model in which no class was trained.

    `choices` are the rows of `study.measures.lenses.lens_choices`, with the accuracy that a guess has as `chance`.
    `choice` is the choice accuracy with its interval over templates (`analysis.statistics.intervals.levels`), or over
    groups of prompts in tiers of few templates; `order` the share of matched pairs of prompts in the right order, in
    which a lens's bias toward one token has no part, where there are two classes. `verdict` is READ where the interval
    of the choice accuracy lies at or above READABLE, NOT_READ where it lies below, else UNDECIDED.
    """
    ordered = order_of_pairs(choices, ["lens", "pair", "layer"])
    rows = choices.assign(unit=choices["lens"], seen=NOBODY, order=ordered)
    few = few_templates([rows])
    depths = dict(zip(rows["layer"], rows["depth"], strict=True))
    chances = dict(zip(rows["pair"], rows["chance"], strict=True))
    found = []
    for tier, samples in by_sample([rows], ["choice", "order"], ["unit", "pair", "layer"], few).items():
        at = samples.rows(samples.places)
        figures = {name: samples.figures(name, at, samples.of(at)) for name in ("choice", "order")}
        table = pd.DataFrame(list(samples.places), columns=["lens", "pair", "layer"])
        table = table.assign(tier=tier, depth=table["layer"].map(depths), chance=table["pair"].map(chances))
        table = table.assign(samples=(~np.isnan(figures["choice"])).sum(axis=1))
        for name, values in figures.items():
            table = table.assign(**columns(name, levels(values, confidence)))
        found.append(table)
    told = pd.concat(found, ignore_index=True)
    verdict = np.select([told["choice_low"] >= READABLE, told["choice_high"] < READABLE], [READ, NOT_READ], UNDECIDED)
    orders = {name: {one: place for place, one in enumerate(dict.fromkeys(rows[name]))} for name in (*PLACE, "lens")}
    return told.assign(verdict=verdict).sort_values(
        [*PLACE, "lens", "layer"],
        key=lambda column: column.map(orders[column.name]) if column.name in orders else column,
        ignore_index=True,
    )


def read_from(told: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each lens, pair and tier: for `choice` and `order` the layer from which they stay at or above
    READABLE up to the last block (`choice_from`), and those from which the ends of their intervals do
    (`choice_from_low` of the upper end, `choice_from_high` of the lower one), inf for never; with the highest choice
    accuracy (`choice`), its interval and its layer (`at`)."""
    rows = []
    for (pair, tier, lens), own in told.groupby([*PLACE, "lens"], sort=False):
        own = own.sort_values("layer")
        row: dict[str, object] = {"pair": pair, "tier": tier, "lens": lens}
        for name in ("choice", "order"):
            for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
                row[f"{name}_from{end}"] = stays_from(own[f"{name}{other}"].to_numpy(float))
        best = own.iloc[int(own["choice"].to_numpy(float).argmax())]
        rows.append({**row, **bounds("choice", interval_of(best, "choice")), "at": best["layer"]})
    return pd.DataFrame(rows)


def stays_from(curve: Floats) -> float:
    """Return the index from which a curve [layers] stays at or above READABLE to its end; inf where its end is below,
    or not known."""
    below = np.flatnonzero(~(curve >= READABLE))
    first = int(below[-1]) + 1 if len(below) else 0
    return math.inf if first == len(curve) else float(first)


def agreement(told: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each pair, tier and layer: the verdict of each lens, and on what they agree (`together`).

    ALL where every lens reads the class, NONE where none does, APART where one reads it and another does not, and
    UNDECIDED where the interval of one leaves it open and no two are apart.
    """
    verdicts = told.pivot_table(index=[*PLACE, "layer"], columns="lens", values="verdict", aggfunc="first", sort=False)
    several = verdicts[[lens for lens in LENSES if lens in verdicts]]
    read, not_read = (several == READ), (several == NOT_READ)
    together = np.select(
        [read.all(axis=1), not_read.all(axis=1), read.any(axis=1) & not_read.any(axis=1)], [ALL, NONE, APART], UNDECIDED
    )
    return several.assign(together=together).reset_index().rename_axis(columns=None)


def in_spans(layers: "pd.Series[int]") -> str:
    """Return block numbers as spans: `0 to 3, 7`; `none` where there are none."""
    spans: list[list[int]] = []
    for layer in sorted(layers.tolist()):
        if spans and spans[-1][-1] == layer - 1:
            spans[-1].append(layer)
        else:
            spans.append([layer])
    told = [str(one[0]) if len(one) == 1 else f"{one[0]} to {one[-1]}" for one in spans]
    return ", ".join(told) or "none"
