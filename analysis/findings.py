"""Sentences made from the decisions alone, so that the words cannot say more than the numbers."""

import pandas as pd

from analysis.emergence import Outcome
from analysis.preservation import TIERS_JUDGED, Verdict
from analysis.statistics import Interval
from analysis.tables import Results
from analysis.wording import probability, share
from study.config import TIERS


def answer(results: Results, judged: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """The answer in five lines; needs at least one judged cell."""
    transfer = judged[~judged["tier"].isin(results.trained)]
    return [
        _trained_wording(results, judged[judged["tier"].isin(results.trained)]),
        _other_wordings(transfer),
        _computation(judged[judged["tier"] == results.trained[0]], kept),
        _class_tokens(results, judged, transfer),
        _certainty(results, kept),
    ]


def limits(results: Results, judged: pd.DataFrame) -> list[str]:
    """What the study's own data cannot show."""
    prompts = next(iter(results.answers.values()))
    prompts = prompts[prompts["stage"] == prompts["stage"].iloc[0]]
    groups = {tier: rows for tier, rows in prompts.groupby("tier", observed=True)}
    counts = [
        f"{tier} {len(groups[tier])} prompts from {groups[tier]['template'].nunique()} templates"
        for tier in TIERS
        if tier in groups
    ]
    seeds = ", ".join(map(str, results.seeds))
    models = judged["model"].nunique()
    percent = share(results.decisions.confidence)
    return [
        f"Seeds: {seeds}. " + ("The spread between seeds is not measured." if len(results.seeds) == 1 else ""),
        f"Models: {models}. Cells of one model are not independent, so counts of cells say nothing of other models.",
        f"All operations together: {'; '.join(counts)}. Another set of templates may give other figures.",
        "Choice accuracy and answer accuracy: intervals are clustered by template and by operand pair. With one "
        "template an operation that is impossible for templates; at exactly 0 or 100 % prompts count as independent.",
        "Mean p and all differences: intervals are clustered by operand pair only, so on tiers with several templates "
        "they may be too narrow.",
        f"{len(judged)} outcomes are each decided at {percent}, with no correction for their number.",
        "The shuffled-label control was not run: `emergent` here means all other criteria.",
    ]


def tally(frame: pd.DataFrame, column: str, values: list[str]) -> str:
    """`3 preserved, 1 hurt`: how often each value occurs, those that do not occur left out."""
    counts = frame[column].value_counts()
    return ", ".join(f"{counts[value]} {value}" for value in values if value in counts)


def _trained_wording(results: Results, judged: pd.DataFrame) -> str:
    emergent = judged[judged["outcome"] == Outcome.EMERGENT]
    by_model = [
        f"{model} {_of(rows)}" for model in results.model_names if not (rows := judged[judged["model"] == model]).empty
    ]
    text = f"**Trained wording ({', '.join(results.trained)}).** Emergent: {_of(judged)} ({', '.join(by_model)})."
    others = tally(judged, "outcome", [outcome.value for outcome in Outcome if outcome != Outcome.EMERGENT])
    if others:
        text += f" The others: {others}."
    if not emergent.empty:
        lowest = emergent.sort_values("choice", kind="stable").iloc[0]
        text += f" Lowest among the emergent: choice accuracy {share(_interval(lowest, 'choice'))}"
        lowest = emergent.sort_values("p", kind="stable").iloc[0]
        text += f", p {probability(_interval(lowest, 'p'))}."
    return text


def _other_wordings(transfer: pd.DataFrame) -> str:
    if transfer.empty:
        return "**Other wordings.** Every wording was trained on: transfer is not measured."
    parts = []
    for tier in (tier for tier in TIERS if (transfer["tier"] == tier).any()):
        rows = transfer[transfer["tier"] == tier]
        best = rows.sort_values("choice", kind="stable").iloc[-1]
        part = f"{tier} {_of(rows)}"
        if (rows["outcome"] == Outcome.EMERGENT).any():
            part += f", from relative depth {rows[rows['outcome'] == Outcome.EMERGENT]['depth'].min():.2f}"
        parts.append(f"{part} (best choice accuracy {share(_interval(best, 'choice'))})")
    return f"**Other wordings.** Emergent: {'; '.join(parts)}."


def _computation(trained: pd.DataFrame, kept: pd.DataFrame) -> str:
    emergent = trained[trained["outcome"] == Outcome.EMERGENT]
    if emergent.empty:
        return "**Computation.** No cell is emergent on the trained wording, so there is nothing to weigh against it."
    rows = kept[kept["unit"].isin(emergent["unit"])]
    parts = []
    for against in ("stage 1", "w = 0"):
        for tier in TIERS_JUDGED:
            here = rows[(rows["against"] == against) & (rows["tier"] == tier)]
            verdicts = tally(here, "verdict", [verdict.value for verdict in Verdict])
            parts.append(f"{tier} against {against}: {verdicts or 'not compared'}")
    text = f"**Computation.** Answer accuracy in the {len(emergent)} cells that are emergent on the trained wording"
    return f"{text}: {'; '.join(parts)}."


def _class_tokens(results: Results, judged: pd.DataFrame, transfer: pd.DataFrame) -> str:
    pairs = [pair for pair in results.pairs if (judged["pair"] == pair).any()]
    if len(pairs) == 1:
        return f"**Class tokens.** Only {pairs[0]} has finished: whether other words would do as well is not tested."
    trained = judged.drop(transfer.index)
    parts = []
    for pair in pairs:
        part = f"{pair} {_of(trained[trained['pair'] == pair])} on the trained wording"
        if not transfer.empty:
            part += f" and {_of(transfer[transfer['pair'] == pair])} on the others"
        parts.append(part)
    text = f"**Class tokens.** Emergent: {'; '.join(parts)}."
    emergent = (trained["outcome"] == Outcome.EMERGENT).groupby(trained["pair"]).mean()
    if emergent.nunique() == 1 and emergent.iloc[0] > 0:
        text += " On the trained wording the choice of words made no difference to the outcome."
    return text


def _certainty(results: Results, kept: pd.DataFrame) -> str:
    cells = results.cells
    states = [cell.status for cell in cells]
    text = f"**How sure.** {states.count('finished')} of {len(cells)} cells with a class loss finished"
    rest = [f"{states.count(state)} {name}" for state, name in _REST.items() if state in states]
    text += f" ({', '.join(rest)})" if rest else ""
    text += f"; {len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}."
    if not kept.empty:
        half = 100 * ((kept["difference_high"] - kept["difference_low"]) / 2).median()
        margin = 100 * results.decisions.non_inferiority_margin
        text += f" Differences in answer accuracy are known to ±{half:.1f} points (median), the margin is {margin:g}."
    return f"{text} The shuffled-label control was not run: emergent means all other criteria."


_REST = {"failed": "failed", "skipped": "skipped", "missing": "not run", "unreadable": "unreadable"}


def _of(rows: pd.DataFrame) -> str:
    return f"{(rows['outcome'] == Outcome.EMERGENT).sum()} of {len(rows)}"


def _interval(row: "pd.Series[float]", name: str) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
