"""Sentences made from the decisions alone, so that the words cannot say more than the numbers."""

import pandas as pd

from analysis.data.numbers import share, signed_probability
from analysis.data.results import Results
from analysis.data.statistics import interval_of
from analysis.outcomes import Decided
from analysis.outcomes.controls import CONTROLS
from analysis.outcomes.emergence import Outcome, emergent_where_trained
from analysis.outcomes.prediction import EXPLAINS, NOT_EXPLAINED, TOO_FEW
from analysis.outcomes.preservation import AGAINST, Verdict
from analysis.text import changes
from study.config.arms import ARMS

_REST = {"failed": "failed", "skipped": "skipped", "missing": "not run", "unreadable": "unreadable"}

ABOVE_CHANCE = (Outcome.EMERGENT, Outcome.DISCRIMINATING, Outcome.PARTIAL)


def answer(results: Results, decided: Decided) -> list[str]:
    """The answer in five lines, and one more where the study has a nursery; needs at least one judged plain cell."""
    one_change = [f"**One change.** {changes.summary(results, decided)}"] if results.nursery else []
    return [
        f"**Transfer.** {_transfer(results, decided.plain)}",
        f"**Cost.** {_cost(results, decided)}",
        f"**Controls.** {_controls(results, decided)}",
        f"**Use.** {_use(results, decided)}",
        f"**Why there.** {_why(results, decided)}",
        *one_change,
    ]


def progress(results: Results) -> str:
    """`2 of 4 cells with a class loss finished (1 failed, 1 skipped); 1 seed`."""
    states = [cell.status for cell in results.cells]
    text = f"{states.count('finished')} of {len(states)} cells with a class loss finished"
    rest = [f"{states.count(state)} {name}" for state, name in _REST.items() if state in states]
    text += f" ({', '.join(rest)})" if rest else ""
    return f"{text}; {len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}"


def limits(results: Results, decided: Decided) -> list[str]:
    """What the study's own data cannot show."""
    prompts = next(iter(results.answers.values()))
    prompts = prompts[prompts["stage"] == prompts["stage"].iloc[0]]
    groups = {tier: rows for tier, rows in prompts.groupby("tier", observed=True)}
    counts = [
        f"{tier} {len(groups[tier])} prompts from {groups[tier]['template'].nunique()} templates"
        for tier in results.tiers
        if tier in groups
    ]
    seeds = ", ".join(map(str, results.seeds))
    percent, terms = share(results.decisions.confidence), results.terms
    said = [
        f"Seeds: {seeds}. " + ("The spread between seeds is not measured." if len(results.seeds) == 1 else ""),
        f"Models: {decided.plain['model'].nunique()}. Cells of one model are not independent, so counts of cells say "
        "nothing of other models.",
        f"All {terms.kinds} together: {'; '.join(counts)}. Another set of templates may give other figures.",
        f"Choice accuracy and answer accuracy: intervals are clustered by template and by {terms.group}. With "
        f"one template {terms.a_kind} that is impossible for templates; at exactly 0 or 100 % prompts count as "
        "independent.",
        f"Mean p and all differences: intervals are clustered by {terms.group} only, so on tiers with several "
        "templates they may be too narrow.",
        f"{len(decided.plain)} outcomes, {len(decided.controls)} comparisons with controls and {len(decided.causal)} "
        f"interventions are each decided at {percent}, with no correction for their number.",
        shuffled_criterion(decided.plain, results.decisions.choice_accuracy),
    ]
    if not decided.associations_by_model.empty:
        said.append(
            "Correlations within a model are freed of depth, its square and weight, in ranks: a predictor that follows "
            "depth in a more bent way, the same in all models, could still pass."
        )
    return said


def tally(frame: pd.DataFrame, column: str, values: list[str]) -> str:
    """`3 preserved, 1 hurt`: how often each value occurs, those that do not occur left out."""
    counts = frame[column].value_counts()
    return ", ".join(f"{counts[value]} {value}" for value in values if value in counts)


def shuffled_criterion(plain: pd.DataFrame, bound: float) -> str:
    """How many outcomes of plain cells were held against shuffled labels, and what came of it."""
    run = plain["shuffled_choice"].notna()
    if not run.any():
        return "The shuffled-label control was not run: `emergent` means all other criteria."
    same = (plain["shuffled_choice_low"] >= bound).sum()
    text = f"Shuffled labels do the same in {same} of {run.sum()} outcomes{', which are not emergent' if same else ''}."
    elsewhere = (run & (plain["shuffled_layer"] != plain["layer"])).sum()
    if elsewhere:
        text += f" In {elsewhere} of them the shuffled-label cell stands at another layer."
    if not run.all():
        text += f" For {(~run).sum()} outcomes it was not run: there `emergent` means all other criteria."
    return text


def _transfer(results: Results, plain: pd.DataFrame) -> str:
    """The primary outcome: wordings that were not trained on, model by model."""
    transfer = plain[plain["transfer"].astype(bool)]
    trained = plain.drop(transfer.index)
    seen = f"On the trained wording: {_of(trained)}."
    if transfer.empty:
        return f"Every wording was trained on, so transfer is not measured. {seen}"
    parts = []
    for tier in (tier for tier in results.tiers if (transfer["tier"] == tier).any()):
        rows = transfer[transfer["tier"] == tier]
        models = [_model(rows[rows["model"] == model], model) for model in results.model_names]
        best = rows.sort_values("choice", kind="stable").iloc[-1]
        found = "; ".join(filter(None, models))
        parts.append(f"{tier} {_of(rows)} ({found}; best choice accuracy {share(interval_of(best, 'choice'))})")
    return f"Emergent on wordings that were not trained on: {', '.join(parts)}. {seen}"


def _model(rows: pd.DataFrame, model: str) -> str:
    if rows.empty:
        return ""
    emergent, above = rows[rows["outcome"] == Outcome.EMERGENT], rows[rows["outcome"].isin(ABOVE_CHANCE)]
    text = f"{model} {_of(rows)}{_from_depth(emergent)}"
    return text + (f", above chance {len(above)}{_from_depth(above)}" if len(above) > len(emergent) else "")


def _from_depth(rows: pd.DataFrame) -> str:
    return "" if rows.empty else f" from relative depth {rows['depth'].min():.2f}"


def _cost(results: Results, decided: Decided) -> str:
    emergent = emergent_where_trained(decided.outcomes)["unit"].unique()
    if not len(emergent):
        return "No cell is emergent on the trained wording, so there is nothing to weigh against it."
    rows = decided.preservation[decided.preservation["unit"].isin(emergent)]
    parts = []
    for against in AGAINST:
        for tier in results.judged_tiers:
            here = rows[(rows["against"] == against) & (rows["tier"] == tier)]
            verdicts = tally(here, "verdict", [verdict.value for verdict in Verdict])
            parts.append(f"{tier} against {against}: {verdicts or 'not compared'}")
    text = f"Answer accuracy in the {len(emergent)} cells that are emergent on the trained wording: {'; '.join(parts)}."
    if not rows.empty:
        half = 100 * ((rows["difference_high"] - rows["difference_low"]) / 2).median()
        margin = 100 * results.decisions.non_inferiority_margin
        text += f" The differences are known to ±{half:.1f} points (median), the margin is {margin:g}."
    return text


def _controls(results: Results, decided: Decided) -> str:
    compared, planned = decided.controls, {cell.arm for cell in results.cells}
    parts = [shuffled_criterion(decided.plain, results.decisions.choice_accuracy)]
    for arm in CONTROLS[1:]:
        rows = compared[compared["arm"] == arm]
        if not rows.empty:
            parts.append(f"Names against {ARMS[arm].words}: {_compared(results, rows)}.")
        else:
            parts.append(f"{ARMS[arm].words.capitalize()}: {'not finished' if arm in planned else 'not run'}.")
    return " ".join([*parts, *_any_token(results, decided), *_by_pair(results, decided.plain)])


def _compared(results: Results, rows: pd.DataFrame) -> str:
    """On which tiers, and in how many cells, the interval of the difference excludes zero."""
    parts, equal = [], []
    for tier in (tier for tier in results.tiers if (rows["tier"] == tier).any()):
        here = rows[rows["tier"] == tier]
        counts = {"better": (here["difference_low"] > 0).sum(), "worse": (here["difference_high"] < 0).sum()}
        told = [f"{word} in {count} of {len(here)}" for word, count in counts.items() if count]
        parts += [f"on {tier} {' and '.join(told)}"] if told else []
        equal += [] if told else [tier]
    return "; ".join([*parts, *([f"no difference shown on {', '.join(equal)}"] if equal else [])])


def _any_token(results: Results, decided: Decided) -> list[str]:
    """Says so where random words are emergent as often as their plain partners, which are at least once."""
    compared = decided.controls[decided.controls["arm"] == "random_words"]
    emergent = decided.outcomes[decided.outcomes["outcome"] == Outcome.EMERGENT]
    where = ["model", "pair", "wordings", "layer", "weight", "seed", "tier"]
    arms = decided.outcomes[decided.outcomes["unit"].isin(compared["unit"])][where]
    partners = arms.merge(emergent[emergent["arm"] == "plain"][where])["tier"].value_counts()
    words = arms.merge(emergent[emergent["unit"].isin(compared["unit"])][where])["tier"].value_counts()
    tiers = [tier for tier in results.tiers if tier in partners and words.get(tier, 0) >= partners[tier]]
    if not tiers:
        return []
    return [f"On {', '.join(tiers)} random words are emergent as often as names: any token can be written there."]


def _by_pair(results: Results, plain: pd.DataFrame) -> list[str]:
    pairs = [pair for pair in results.pairs if (plain["pair"] == pair).any()]
    if len(pairs) == 1:
        return []
    parts = []
    for pair in pairs:
        rows = plain[plain["pair"] == pair]
        transfer = rows["transfer"].astype(bool)
        part = f"{pair} {_of(rows[~transfer])} on the trained wording"
        parts.append(part + (f" and {_of(rows[transfer])} on the others" if transfer.any() else ""))
    text, primary = [f"Emergent by pair: {'; '.join(parts)}."], plain[plain["tier"] == results.decisions.primary_tier]
    primary = primary[primary["transfer"].astype(bool)]
    if not primary.empty:
        rows_of = {pair: primary[primary["pair"] == pair] for pair in pairs}
        counts = [f"{pair} {rows['outcome'].isin(ABOVE_CHANCE).sum()} of {len(rows)}" for pair, rows in rows_of.items()]
        text.append(f"Above chance on {results.decisions.primary_tier} by pair: {'; '.join(counts)}.")
    return text


def _use(results: Results, decided: Decided) -> str:
    rows, kind = decided.causal, results.terms.kind
    if rows.empty:
        emergent = not emergent_where_trained(decided.outcomes).empty
        return "Not run." if emergent else "No cell is emergent on the trained wording, so there is nothing to swap."
    moved, towards = rows["answers_moved_low"] > 0, rows["towards_other_high"] < 0
    if not moved.any() and not towards.any():
        return (
            f"In none of {rows['unit'].nunique()} emergent cells does swapping the class direction change more "
            f"verdicts than a random direction of the same size, or move the answer towards the other {kind}'s: that "
            "the network uses the classifier is not shown."
        )
    parts = []
    for tier in (tier for tier in results.tiers if (rows["tier"] == tier).any()):
        here = rows["tier"] == tier
        parts.append(f"{tier} {(here & moved).sum()} and {(here & towards).sum()} of {here.sum()}")
    return (
        "Emergent cells where swapping the class direction changes more verdicts than a random direction of the same "
        f"size, and where it moves the answer towards the other {kind}'s: {'; '.join(parts)}."
    )


def _why(results: Results, decided: Decided) -> str:
    rows, tier = decided.associations, results.decisions.primary_tier
    models = decided.associations_by_model["model"].nunique()
    if decided.predictors.empty:
        return "Not run: no predictors were measured."
    if not models:
        return f"No cell with predictors has a choice accuracy on {tier} as transfer."
    if models == 1:
        return "One model: its correlations stand below, and nothing can be said of other models."
    found = rows[rows["words"] == EXPLAINS]
    refuted, undecided = (rows.loc[rows["words"] == words, "predictor"] for words in (NOT_EXPLAINED, TOO_FEW))
    if found.empty and refuted.empty:
        return (
            f"{models} models are too few to decide between {len(rows)} predictors: their correlations stand below, "
            "and nothing can be said of other models."
        )
    parts = [
        f"{row['predictor']} (positive in {row['signs']} of {row['models']} models, corrected p {row['p_holm']:.3f}, "
        f"out-of-model R2 {signed_probability(interval_of(row, 'increment'))})"
        for row in found.to_dict("records")
    ]
    explained = "; ".join(parts) or "none of the predictors"
    text = f"Choice accuracy on {tier}, beyond depth and weight, is explained by {explained}."
    text += f" Not explained by: {', '.join(refuted)}." if len(refuted) else ""
    return text + (
        f" Undecided, for want of models in which they vary: {', '.join(undecided)}." if len(undecided) else ""
    )


def _of(rows: pd.DataFrame) -> str:
    return f"{(rows['outcome'] == Outcome.EMERGENT).sum()} of {len(rows)}"
