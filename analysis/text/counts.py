"""The numbers of the answer, one a row: what its words count, so that each of them can be looked up."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.emergence import Outcome, emergent_where_trained
from analysis.outcomes.preservation import Verdict
from analysis.text.answer import ABOVE_CHANCE

COLUMNS = ["line", "tier", "model", "pair", "arm", "against", "quantity", "value"]
Row = dict[str, Any]


def counts(results: Results, decided: Decided) -> pd.DataFrame:
    """One row a number; empty places mean all of them together."""
    rows = [*_transfer(decided), *_cost(decided), *_controls(results, decided), *_use(decided)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _transfer(decided: Decided) -> Iterator[Row]:
    transfer = decided.plain["transfer"].astype(bool)
    yield from _outcomes({"line": "Transfer", "tier": "trained wording"}, decided.plain[~transfer])
    for tier, rows in decided.plain[transfer].groupby("tier", sort=False):
        yield from _outcomes({"line": "Transfer", "tier": tier}, rows)
        for model, own in rows.groupby("model", sort=False):
            yield from _outcomes({"line": "Transfer", "tier": tier, "model": model}, own)


def _outcomes(where: Row, rows: pd.DataFrame) -> Iterator[Row]:
    """How many are emergent, how many above chance, from which depth, and the best choice accuracy."""
    emergent, above = rows["outcome"] == Outcome.EMERGENT, rows["outcome"].isin(ABOVE_CHANCE)
    yield {**where, "quantity": "cells", "value": len(rows)}
    for name, chosen in (("emergent", emergent), ("above chance", above)):
        yield {**where, "quantity": name, "value": int(chosen.sum())}
        if chosen.any():
            yield {**where, "quantity": f"{name} from relative depth", "value": rows.loc[chosen, "depth"].min()}
    if not rows.empty:
        best = rows.sort_values("choice", kind="stable").iloc[-1]
        for name in ("choice", "choice_low", "choice_high"):
            yield {**where, "quantity": f"best {name}", "value": best[name]}


def _cost(decided: Decided) -> Iterator[Row]:
    emergent = emergent_where_trained(decided.outcomes)["unit"].unique()
    rows = decided.preservation[decided.preservation["unit"].isin(emergent)]
    yield {"line": "Cost", "quantity": "cells", "value": len(emergent)}
    for (against, tier), here in rows.groupby(["against", "tier"], sort=False):
        for verdict in Verdict:
            value = int((here["verdict"] == verdict.value).sum())
            yield {"line": "Cost", "tier": tier, "against": against, "quantity": verdict.value, "value": value}
    if not rows.empty:
        half = 100 * ((rows["difference_high"] - rows["difference_low"]) / 2).median()
        yield {"line": "Cost", "quantity": "half-width of the intervals, median, points", "value": half}


def _controls(results: Results, decided: Decided) -> Iterator[Row]:
    plain, bound = decided.plain, results.decisions.choice_accuracy
    run = plain["shuffled_choice"].notna()
    for name, chosen in (
        ("outcomes beside shuffled labels", run),
        ("shuffled labels do the same", plain["shuffled_choice_low"] >= bound),
        ("shuffled labels at another layer", run & (plain["shuffled_layer"] != plain["layer"])),
        ("outcomes without shuffled labels", ~run),
    ):
        yield {"line": "Controls", "arm": "shuffled_labels", "quantity": name, "value": int(chosen.sum())}
    for (arm, tier), here in decided.controls.groupby(["arm", "tier"], sort=False):
        found = {"cells": len(here), "plain better": (here["difference_low"] > 0).sum()}
        for name, value in (found | {"plain worse": (here["difference_high"] < 0).sum()}).items():
            yield {"line": "Controls", "tier": tier, "arm": arm, "quantity": name, "value": int(value)}
    for pair, rows in plain.groupby("pair", sort=False):
        transfer = rows["transfer"].astype(bool)
        primary = rows[transfer & (rows["tier"] == results.decisions.primary_tier)]
        for tier, some in (("trained wording", rows[~transfer]), ("the others", rows[transfer])):
            yield {"line": "Controls", "tier": tier, "pair": pair, "quantity": "cells", "value": len(some)}
            emergent = int((some["outcome"] == Outcome.EMERGENT).sum())
            yield {"line": "Controls", "tier": tier, "pair": pair, "quantity": "emergent", "value": emergent}
        where = {"line": "Controls", "tier": results.decisions.primary_tier, "pair": pair}
        yield {**where, "quantity": "cells", "value": len(primary)}
        yield {**where, "quantity": "above chance", "value": int(primary["outcome"].isin(ABOVE_CHANCE).sum())}


def _use(decided: Decided) -> Iterator[Row]:
    yield {"line": "Use", "quantity": "cells", "value": decided.causal["unit"].nunique()}
    for tier, here in decided.causal.groupby("tier", sort=False):
        moved, towards = here["answers_moved_low"] > 0, here["towards_other_high"] < 0
        found = {"cells": len(here), "verdicts moved": int(moved.sum()), "towards the other": int(towards.sum())}
        for name, value in found.items():
            yield {"line": "Use", "tier": tier, "quantity": name, "value": value}
