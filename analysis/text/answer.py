"""The report's answer in sentences, which say the numbers of table_answer.csv and the decisions."""

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import share, signed_probability
from analysis.data.results import Results
from analysis.data.statistics import Interval, interval_of
from analysis.outcomes import Decided
from analysis.outcomes.controls import CONTROLS
from analysis.outcomes.emergence import Outcome
from analysis.outcomes.prediction import EXPLAINS, NOT_EXPLAINED, TOO_FEW
from analysis.outcomes.preservation import AGAINST, Verdict
from analysis.text import changes
from analysis.text.answer_numbers import HALF_WIDTH, OTHERS, TRAINED, Numbers, Place
from study.config.arms import words_of

_REST = {"failed": "failed", "skipped": "skipped", "missing": "not run", "unreadable": "unreadable"}


def answer(results: Results, decided: Decided, numbers: Numbers) -> list[Markdown]:
    """The answer in five lines, and one more where the study has a nursery; needs at least one judged plain cell."""
    lines = {
        "Transfer": _transfer(results, numbers),
        "Cost": _cost(results, numbers),
        "Controls": _controls(results, decided, numbers),
        "Use": _use(results, numbers),
        "Why there": _why(results, decided),
        **({"One change": changes.summary(results, decided)} if results.nursery else {}),
    }
    return [Markdown(f"**{name}.** {escape(line)}") for name, line in lines.items()]


def progress(results: Results) -> str:
    """`2 of 4 cells with a class loss finished (1 failed, 1 skipped); 1 seed`."""
    states = [cell.status for cell in results.cells]
    text = f"{states.count('finished')} of {len(states)} cells with a class loss finished"
    rest = [f"{states.count(state)} {name}" for state, name in _REST.items() if state in states]
    text += f" ({', '.join(rest)})" if rest else ""
    return f"{text}; {len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}"


def limits(results: Results, decided: Decided, numbers: Numbers) -> list[str]:
    """What the study's own data cannot show."""
    prompts = next(iter(results.rows["answers"].values()))
    prompts = prompts[prompts["stage"] == prompts["stage"].iloc[0]]
    groups = {tier: rows for tier, rows in prompts.groupby("tier", observed=True)}
    counts = [
        f"{tier} {len(groups[tier])} prompts from {groups[tier]['template'].nunique()} templates"
        for tier in results.tiers
        if tier in groups
    ]
    seeds = ", ".join(map(str, results.seeds))
    spread = (
        f"Seeds: {seeds}."
        if len(results.seeds) > 1
        else f"One seed ({seeds}): the spread between seeds is not measured."
    )
    percent, terms = share(results.decisions.confidence), results.terms
    said = [
        spread,
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
        shuffled_criterion(numbers),
    ]
    if not decided.associations_by_model.empty:
        said.append(
            "Correlations within a model are freed of depth, its square and weight, in ranks: a predictor that follows "
            "depth in a more bent way, the same in all models, could still pass."
        )
    return said


def shuffled_criterion(numbers: Numbers) -> Markdown:
    """How many outcomes of plain cells were held against shuffled labels, and what came of it."""
    place = Place("Controls", arm="shuffled_labels")
    run, missing = numbers[place, "outcomes beside shuffled labels"], numbers[place, "outcomes without shuffled labels"]
    if not run:
        return Markdown("The shuffled-label control was not run: `emergent` means all other criteria.")
    same = numbers[place, "shuffled labels do the same"]
    text = f"Shuffled labels do the same in {same} of {run} outcomes{', which are not emergent' if same else ''}."
    if elsewhere := numbers[place, "shuffled labels at another layer"]:
        text += f" In {elsewhere} of them the shuffled-label cell stands at another layer."
    if missing:
        text += f" For {missing} outcomes it was not run: there `emergent` means all other criteria."
    return Markdown(text)


def _transfer(results: Results, numbers: Numbers) -> str:
    """The primary outcome: wordings that were not trained on, model by model."""
    seen = f"On the trained wording: {_emergent(numbers, Place('Transfer', tier=TRAINED))}."
    parts = []
    for tier in _tiers(results, numbers, Place("Transfer")):
        place = Place("Transfer", tier=tier)
        best = Interval(*(numbers[place, f"best {name}"] for name in ("choice", "choice_low", "choice_high")))
        models = [_model(numbers, place._replace(model=model)) for model in results.model_names]
        found = "; ".join(filter(None, models))
        parts.append(f"{tier} {_emergent(numbers, place)} ({found}; best choice accuracy {share(best)})")
    if not parts:
        return f"Every wording was trained on, so transfer is not measured. {seen}"
    return f"Emergent on wordings that were not trained on: {', '.join(parts)}. {seen}"


def _model(numbers: Numbers, place: Place) -> str:
    if (place, "cells") not in numbers:
        return ""
    text = f"{place.model} {_emergent(numbers, place)}{_from_depth(numbers, place, 'emergent')}"
    above = numbers[place, "above chance"]
    if above > numbers[place, "emergent"]:
        text += f", above chance {above}{_from_depth(numbers, place, 'above chance')}"
    return text


def _from_depth(numbers: Numbers, place: Place, quantity: str) -> str:
    depth = numbers.get((place, f"{quantity} from relative depth"))
    return "" if depth is None else f" from relative depth {depth:.2f}"


def _cost(results: Results, numbers: Numbers) -> str:
    cells = numbers[Place("Cost"), "cells"]
    if not cells:
        return "No cell is emergent on the trained wording, so there is nothing to weigh against it."
    parts = []
    for against in AGAINST:
        for tier in results.judged_tiers:
            place = Place("Cost", tier=tier, against=against)
            counts = {verdict.value: numbers.get((place, verdict.value), 0) for verdict in Verdict}
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
            parts.append(f"{tier} against {against}: {verdicts or 'not compared'}")
    text = f"Answer accuracy in the {cells} cells that are emergent on the trained wording: {'; '.join(parts)}."
    half = numbers.get((Place("Cost"), HALF_WIDTH))
    if half is not None:
        margin = 100 * results.decisions.non_inferiority_margin
        text += f" The differences are known to ±{half:.1f} points (median), the margin is {margin:g}."
    return text


def _controls(results: Results, decided: Decided, numbers: Numbers) -> Markdown:
    planned = {cell.arm for cell in results.cells}
    parts: list[str] = [shuffled_criterion(numbers)]
    for arm in CONTROLS[1:]:
        if compared := _compared(results, numbers, arm):
            parts.append(f"Names against {words_of(arm)}: {compared}.")
        else:
            parts.append(f"{words_of(arm).capitalize()}: {'not finished' if arm in planned else 'not run'}.")
    parts += [*_any_token(results, decided), *_by_pair(results, numbers)]
    return Markdown(" ".join(map(escape, parts)))


def _compared(results: Results, numbers: Numbers, arm: str) -> str:
    """On which tiers, and in how many cells, the interval of the difference excludes zero; empty without a cell."""
    parts, equal = [], []
    for tier in _tiers(results, numbers, Place("Controls", arm=arm)):
        place = Place("Controls", tier=tier, arm=arm)
        counts = {word: numbers[place, f"plain {word}"] for word in ("better", "worse")}
        told = [f"{word} in {count} of {numbers[place, 'cells']}" for word, count in counts.items() if count]
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


def _by_pair(results: Results, numbers: Numbers) -> list[str]:
    places = [Place("Controls", pair=pair) for pair in results.pairs]
    places = [place for place in places if (place._replace(tier=TRAINED), "cells") in numbers]
    if len(places) == 1:
        return []
    parts, counts = [], []
    for place in places:
        others, primary = place._replace(tier=OTHERS), place._replace(tier=results.decisions.primary_tier)
        part = f"{place.pair} {_emergent(numbers, place._replace(tier=TRAINED))} on the trained wording"
        parts.append(part + (f" and {_emergent(numbers, others)} on the others" if numbers[others, "cells"] else ""))
        counts.append(f"{place.pair} {numbers[primary, 'above chance']} of {numbers[primary, 'cells']}")
    text = [f"Emergent by pair: {'; '.join(parts)}."]
    if any(numbers[place._replace(tier=results.decisions.primary_tier), "cells"] for place in places):
        text.append(f"Above chance on {results.decisions.primary_tier} by pair: {'; '.join(counts)}.")
    return text


def _use(results: Results, numbers: Numbers) -> str:
    cells, kind = numbers[Place("Use"), "cells"], results.terms.kind
    if not cells:
        emergent = numbers[Place("Cost"), "cells"]
        return "Not run." if emergent else "No cell is emergent on the trained wording, so there is nothing to swap."
    places = [Place("Use", tier=tier) for tier in _tiers(results, numbers, Place("Use"))]
    if not any(numbers[place, "verdicts moved"] or numbers[place, "towards the other"] for place in places):
        return (
            f"In none of {cells} emergent cells does swapping the class direction change more "
            f"verdicts than a random direction of the same size, or move the answer towards the other {kind}'s: that "
            "the network uses the classifier is not shown."
        )
    parts = [
        f"{place.tier} {numbers[place, 'verdicts moved']} and {numbers[place, 'towards the other']} of "
        f"{numbers[place, 'cells']}"
        for place in places
    ]
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


def _tiers(results: Results, numbers: Numbers, place: Place) -> list[str]:
    """The tiers on which cells of that place were counted."""
    return [tier for tier in results.tiers if (place._replace(tier=tier), "cells") in numbers]


def _emergent(numbers: Numbers, place: Place) -> str:
    return f"{numbers[place, 'emergent']} of {numbers[place, 'cells']}"
