"""The numbers of the report's answer: the rows of table_answer.csv, from which its sentences are made."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.emergence import Outcome, emergent_where_trained
from analysis.outcomes.preservation import Verdict

ABOVE_CHANCE = (Outcome.EMERGENT, Outcome.DISCRIMINATING, Outcome.PARTIAL)
TRAINED, OTHERS = "trained wording", "the others"
"""What stands for a tier where several tiers are counted together."""
HALF_WIDTH = "half-width of the intervals, median, points"


class Place(NamedTuple):
    """The cells that a number is about; what is None is not restricted."""

    line: str
    """The line of the answer."""
    tier: str | None = None
    model: str | None = None
    pair: str | None = None
    arm: str | None = None
    against: str | None = None


Numbers = dict[tuple[Place, str], float]
"""Each number by its place and quantity; counts are whole numbers."""
Counted = Iterator[tuple[tuple[Place, str], float]]


def answer_numbers(results: Results, decided: Decided) -> Numbers:
    """All numbers, in the order of the answer's lines."""
    return dict([*_transfer(decided), *_cost(decided), *_controls(results, decided), *_use(decided)])


def answer_table(numbers: Numbers) -> pd.DataFrame:
    """One row a number; empty places mean all of them together."""
    rows = [(*place, quantity, value) for (place, quantity), value in numbers.items()]
    return pd.DataFrame(rows, columns=[*Place._fields, "quantity", "value"])


def _transfer(decided: Decided) -> Counted:
    transfer = decided.plain["transfer"].astype(bool)
    yield from _outcomes(Place("Transfer", tier=TRAINED), decided.plain[~transfer])
    for tier, rows in decided.plain[transfer].groupby("tier", sort=False):
        yield from _outcomes(Place("Transfer", tier=str(tier)), rows)
        for model, own in rows.groupby("model", sort=False):
            yield from _outcomes(Place("Transfer", tier=str(tier), model=str(model)), own)


def _outcomes(place: Place, rows: pd.DataFrame) -> Counted:
    """How many are emergent, how many above chance, from which depth, and the best choice accuracy."""
    emergent, above = rows["outcome"] == Outcome.EMERGENT, rows["outcome"].isin(ABOVE_CHANCE)
    yield (place, "cells"), len(rows)
    for name, chosen in (("emergent", emergent), ("above chance", above)):
        yield (place, name), int(chosen.sum())
        if chosen.any():
            yield (place, f"{name} from relative depth"), rows.loc[chosen, "depth"].min()
    if not rows.empty:
        best = rows.sort_values("choice", kind="stable").iloc[-1]
        for name in ("choice", "choice_low", "choice_high"):
            yield (place, f"best {name}"), best[name]


def _cost(decided: Decided) -> Counted:
    emergent = emergent_where_trained(decided.outcomes)["unit"].unique()
    rows = decided.preservation[decided.preservation["unit"].isin(emergent)]
    yield (Place("Cost"), "cells"), len(emergent)
    for (against, tier), here in rows.groupby(["against", "tier"], sort=False):
        for verdict in Verdict:
            count = int((here["verdict"] == verdict.value).sum())
            yield (Place("Cost", tier=str(tier), against=str(against)), verdict.value), count
    if not rows.empty:
        half = 100 * ((rows["difference_high"] - rows["difference_low"]) / 2).median()
        yield (Place("Cost"), HALF_WIDTH), half


def _controls(results: Results, decided: Decided) -> Counted:
    plain, bound = decided.plain, results.decisions.choice_accuracy
    run = plain["shuffled_choice"].notna()
    for name, chosen in (
        ("outcomes beside shuffled labels", run),
        ("shuffled labels do the same", plain["shuffled_choice_low"] >= bound),
        ("shuffled labels at another layer", run & (plain["shuffled_layer"] != plain["layer"])),
        ("outcomes without shuffled labels", ~run),
    ):
        yield (Place("Controls", arm="shuffled_labels"), name), int(chosen.sum())
    for (arm, tier), here in decided.controls.groupby(["arm", "tier"], sort=False):
        place = Place("Controls", tier=str(tier), arm=str(arm))
        yield (place, "cells"), len(here)
        yield (place, "plain better"), int((here["difference_low"] > 0).sum())
        yield (place, "plain worse"), int((here["difference_high"] < 0).sum())
    for pair, rows in plain.groupby("pair", sort=False):
        transfer = rows["transfer"].astype(bool)
        for tier, some in ((TRAINED, rows[~transfer]), (OTHERS, rows[transfer])):
            place = Place("Controls", tier=tier, pair=str(pair))
            yield (place, "cells"), len(some)
            yield (place, "emergent"), int((some["outcome"] == Outcome.EMERGENT).sum())
        primary = rows[transfer & (rows["tier"] == results.decisions.primary_tier)]
        place = Place("Controls", tier=results.decisions.primary_tier, pair=str(pair))
        yield (place, "cells"), len(primary)
        yield (place, "above chance"), int(primary["outcome"].isin(ABOVE_CHANCE).sum())


def _use(decided: Decided) -> Counted:
    yield (Place("Use"), "cells"), decided.causal["unit"].nunique()
    for tier, here in decided.causal.groupby("tier", sort=False):
        place = Place("Use", tier=str(tier))
        yield (place, "cells"), len(here)
        yield (place, "verdicts moved"), int((here["answers_moved_low"] > 0).sum())
        yield (place, "towards the other"), int((here["towards_other_high"] < 0).sum())
