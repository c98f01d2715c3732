"""The questions of the first page, with an answer in numbers and how sure it is, made from the frames of decisions."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.depth import READABLE
from analysis.outcomes.effects import overall
from analysis.outcomes.emergence import MEMORY
from analysis.outcomes.prediction import DOES_NOT, EXPLAINS
from analysis.text.cost_and_use_questions import cost, use
from analysis.text.telling import (
    FEW_MODELS,
    NOT_RUN,
    Difference,
    Question,
    by_verdict,
    depth_range,
    depth_words,
    groups,
    how_decided,
    listed,
    main_rows,
    span,
)
from study.config.arms import ARMS, arms_that_are, words_of
from study.config.predictors import PREDICTORS
from study.config.units import CHAT


def questions(results: Results, decided: Decided) -> list[Question]:
    """Return the questions, in the order of the page."""
    return [
        *_depth(results, decided),
        *_bias(results, decided),
        *([cost(results, decided)] if results.has_answers else []),
        _meaning(results, decided),
        _memory(results, decided),
        *([use(results, decided)] if results.has_answers else []),
        *_manipulated(results, decided),
        *_prompting(results, decided),
        why(results, decided),
    ]


def _depth(results: Results, decided: Decided) -> Iterator[Question]:
    """From which depth on each tier is read, of few models; more stand in a table below."""
    rows = decided.depths
    rows = main_rows(results, rows[rows["arm"] == "plain"]) if len(rows) else rows
    if rows.empty or rows["model"].nunique() > FEW_MODELS:
        return
    answers, sure = [], []
    for model, own in rows.groupby("model", sort=False):
        by_tier = {row["tier"]: row for row in own.to_dict("records")}
        there = {tier: by_tier[tier] for tier in results.tiers if tier in by_tier}
        answers.append(f"{model}: {', '.join(f'{tier} {depth_words(row)}' for tier, row in there.items())}")
        sure.append(f"{model}: {', '.join(f'{tier} {depth_range(row)}' for tier, row in there.items())}")
    yield Question(
        f"From which depth on is it at {100 * READABLE:.0f} %?",
        escape(f"{'; '.join(answers)} (first: at the first trained depth, or before it)"),
        escape(f"{'; '.join(sure)} ({100 * results.decisions.confidence:g} % intervals)"),
    )


def _bias(results: Results, decided: Decided) -> Iterator[Question]:
    """What the class loss brings, and whether that is a bias: in matched pairs of prompts it has no part."""
    words = {"above": "higher with it", "below": "lower with it", "none": "no difference", "undecided": "undecided"}
    told = [
        Difference(f"{what}, with the class loss minus {results.terms.zero}", rows, words)
        for what, contrast in (
            ("Choice accuracy", "class loss against w = 0"),
            ("Matched pairs in the right order", "order with class loss against w = 0"),
        )
        if len(rows := main_rows(results, overall(decided.effects, contrast)))
    ]
    if told:
        question = _asked(results, "What does the class loss bring, in accuracy and in order?", *told)
        yield replace(question, sure=Markdown(f"{question.sure}{escape(_reversed(results, decided))}"))


REVERSED = 0.25
"""Share of matched pairs in the right order below which a lens tells classes apart the wrong way round."""


def _reversed(results: Results, decided: Decided) -> str:
    """In how many places the lens of w = 0 has the classes the wrong way round, which a class loss only has to turn."""
    rows = main_rows(results, decided.means[decided.means["arm"] == "plain"])
    known = rows[(rows["templates"] == "unseen") & rows["zero_order_lowest_seed"].notna()]
    there = known[known["zero_order_lowest_seed"] < REVERSED]
    if there.empty:
        return ""
    counts = there["model"].value_counts(sort=False)
    per = ", ".join(
        f"{count} of {(known['model'] == model).sum()} layers and tiers of {model}" for model, count in counts.items()
    )
    return (
        f"; a part of order is a sign: with {results.terms.zero} some seed has fewer than {100 * REVERSED:.0f} % of "
        f"pairs in the right order, and so tells the classes apart the wrong way round, at {per}"
    )


def _asked(results: Results, asks: str, *differences: Difference) -> Question:
    """A question that differences answer."""
    answers = [by_verdict(results, difference) for difference in differences]
    sure = dict.fromkeys(how_decided(results, difference) for difference in differences)
    return Question(asks, Markdown(". ".join(answers)), Markdown("; ".join(sure)), differences)


def _meaning(results: Results, decided: Decided) -> Question:
    asks = "Do the words' meanings matter?"
    rows = main_rows(results, overall(decided.effects, "names against random_words"))
    if rows.empty:
        return Question(asks, NOT_RUN, _missing(results, decided, "random_words"))
    words = {"above": "names do better", "below": "names do worse", "none": "no difference", "undecided": "undecided"}
    told = [
        Difference(f"{what}, class names minus {words_of(arm)}", found, words)
        for arm in ("random_words", "swapped_tokens")
        for what, contrast in (
            ("Choice accuracy", f"names against {arm}"),
            ("Matched pairs in the right order", f"order of names against {arm}"),
        )
        if len(found := main_rows(results, overall(decided.effects, contrast)))
    ]
    question = _asked(results, asks, *told)
    drawn = escape(f"of cells that fitted; {_words_drawn(results)}".strip("; "))
    return replace(question, sure=Markdown("; ".join(filter(None, [question.sure, drawn]))))


def _words_drawn(results: Results) -> str:
    """How many unrelated words stand for all others; nothing where the rows do not tell."""
    drawn = {
        tuple(one["text"] for one in tokens.values())
        for done in results.done.values()
        for pair, tokens in done.get("tokens", {}).items()
        if pair.startswith("random:") and "skipped" not in tokens
    }
    return f"{len(drawn)} pair{'s' if len(drawn) > 1 else ''} of unrelated words in all models" if drawn else ""


def _memory(results: Results, decided: Decided) -> Question:
    asks = "Was it only memory?"
    rows = main_rows(results, overall(decided.effects, f"names against {MEMORY}"))
    if rows.empty:
        return Question(asks, NOT_RUN, _missing(results, decided, MEMORY))
    means = main_rows(results, decided.means[decided.means["arm"] == MEMORY])
    unseen = means[means["tier"].isin(results.plain[0].wordings) & (means["templates"] == "unseen")]
    parts = []
    for group, models in groups(rows).items():
        of = rows[rows["model"].isin(models)]
        remembered, named = (f"{span(of[column], 100)} %" for column in ("value_beside", "value"))
        parts.append(f"{group}: shuffled labels, which have to be remembered, {remembered}, names {named}")
    new = f"; on new templates {span(unseen['choice'], 100)} %" if len(unseen) else ""
    held_out = results.terms.held_out
    answer = f"On templates whose labels were seen, with new {held_out}: {'; '.join(parts)}{new}"
    plain = decided.means[decided.means["arm"] == "plain"]
    where = (
        f"templates and {held_out} that no training saw, where memory of either has nothing to go by"
        if set(plain["tier"]) == set(plain.loc[plain["templates"] == "unseen", "tier"])
        else f"{held_out} that no training saw, and of templates that some training saw where their rows say so"
    )
    sure = f"the tables above are of {where}. {_count_fitted(decided, MEMORY)}{_one_each(decided, MEMORY)}"
    return Question(asks, escape(answer), escape(sure))


def _manipulated(results: Results, decided: Decided) -> Iterator[Question]:
    for arm in arms_that_are("manipulation"):
        rows = main_rows(results, overall(decided.effects, f"plain against {arm}"))
        if len(rows):
            words = {"above": "plain is higher", "below": "plain is lower", "none": "no", "undecided": "undecided"}
            told = Difference(f"Choice accuracy, plain minus {words_of(arm)}", rows, words)
            question = _asked(results, f"Does it matter {ARMS[arm].asks}?", told)
            yield replace(question, answer=Markdown(f"{question.answer}{escape(_answers_kept(results, decided, arm))}"))


def _answers_kept(results: Results, decided: Decided, arm: str) -> str:
    """How many answers are right without a manipulation and with it, of few models."""
    first = results.plain[0].wordings[0]
    rows = main_rows(results, overall(decided.effects, f"answers of plain against {arm}"))
    rows = rows[rows["tier"] == first]
    kept = [f"{row['model']} {share(row['value'])} and {share(row['value_beside'])}" for row in rows.to_dict("records")]
    if not 0 < len(kept) <= FEW_MODELS:
        return ""
    return f". Right answers on {first}, plain and with {words_of(arm)}: {', '.join(kept)}"


def _prompting(results: Results, decided: Decided) -> Iterator[Question]:
    asks = "Does the chat template change it?"
    rows = main_rows(results, overall(decided.effects, "plain prompts against chat"))
    planned = any(cell.model.endswith(CHAT) for cell in results.cells)
    if planned and rows.empty:
        yield Question(asks, NOT_RUN, Markdown("no such cell has finished beside a plain one"))
    if len(rows):
        words = {"above": "plain is better", "below": "chat is better", "none": "no", "undecided": "undecided"}
        yield _asked(results, asks, Difference("Choice accuracy, plain prompts minus the chat template", rows, words))


def why(results: Results, decided: Decided) -> Question:
    asks, found = "Why there?", decided.associations
    if len(decided.explained):
        return _by_architecture(asks, decided.explained)
    models = decided.associations_by_model["model"].nunique()
    if decided.predictors.empty or not models:
        return Question(asks, NOT_RUN, escape(_why_not(results, decided)))
    explains, does_not = (list(found.loc[found["words"] == word, "predictor"]) for word in (EXPLAINS, DOES_NOT))
    if not explains and not does_not:
        few = f"{models} model{'s' if models > 1 else ''} decide{'s' if models == 1 else ''} nothing between models"
        return Question(asks, Markdown("**Not answered**"), Markdown(few))
    told = [f"explained by {', '.join(explains)}"] if explains else []
    told += [f"not explained by {', '.join(does_not)}"] if does_not else []
    others = len(found) - len(explains) - len(does_not)
    rest = f"; {others} of {len(found)} predictors undecided" if others else ""
    return Question(asks, escape("; ".join(told)), escape(f"{models} models left out in turn{rest}"))


def _why_not(results: Results, decided: Decided) -> str:
    if not results.decisions.predictors:
        return "the study measures no predictors: decisions.predictors is empty"
    if decided.predictors.empty:
        return "no predictors have been measured yet"
    return "no cell has finished on wordings that it was not trained on, whose transfer predictors could tell"


def _by_architecture(asks: str, found: pd.DataFrame) -> Question:
    """Whether a predictor tells architectures of a sample apart."""
    by_words: dict[str, list[str]] = {"explained by": [], "not explained by": [], "undecided:": []}
    said = {EXPLAINS: "explained by", DOES_NOT: "not explained by"}
    for name, words in zip(found["predictor"], found["words"], strict=True):
        by_words[said.get(words, "undecided:")].append(f"{PREDICTORS[name].words} ({name})")
    told = [f"{words} {listed(names)}" for words, names in by_words.items() if names]
    count = int(found["architectures"].max())
    known = "beyond tier, depth, answers and sizes"
    sure = f"{count} architectures left out in turn, {known}; Holm over {len(found)} predictors"
    return Question(asks, escape("; ".join(told)), escape(sure))


def _missing(results: Results, decided: Decided, arm: str) -> Markdown:
    return escape(_count_fitted(decided, arm) or f"{words_of(arm)}: not run")


def _one_each(decided: Decided, arm: str) -> str:
    """That a control was run at one depth and seed alone, where so."""
    cells = decided.levels[decided.levels["arm"] == arm].drop_duplicates("unit")
    alone = len(cells) and (cells.groupby(["model", "pair"])["unit"].nunique() == 1).all()
    return ", one of each model, at one depth and seed" if alone else ""


def _count_fitted(decided: Decided, arm: str) -> str:
    cells = decided.levels[decided.levels["arm"] == arm].drop_duplicates("unit")
    if cells.empty:
        return ""
    return f"{int(cells['fitted'].sum())} of {len(cells)} cells with {words_of(arm)} fitted"
