"""The questions of the first page, with an answer in numbers and how sure it is, made from the frames of decisions."""

import math
from collections.abc import Iterator
from dataclasses import replace

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
    groups,
    how_decided,
    main_rows,
    span,
)
from study.config.arms import ARMS, arms_that_are, words_of
from study.config.units import CHAT


def questions(results: Results, decided: Decided) -> list[Question]:
    """Return the questions, in the order of the page."""
    return [
        *_depth(results, decided),
        *_bias(results, decided),
        cost(results, decided),
        _meaning(results, decided),
        _memory(results, decided),
        use(results, decided),
        *_manipulated(results, decided),
        *_prompting(results, decided),
        _why(results, decided),
    ]


def _depth(results: Results, decided: Decided) -> Iterator[Question]:
    """From which depth on each tier is read, of few models; more stand in a table below."""
    rows = decided.depths
    rows = main_rows(results, rows[rows["arm"] == "plain"]) if len(rows) else rows
    if rows.empty or rows["model"].nunique() > FEW_MODELS:
        return
    share_of = f"{100 * READABLE:.0f} %"
    answers, sure = [], []
    for tier in results.tiers:
        of_tier = rows[rows["tier"] == tier].to_dict("records")
        if of_tier:
            answers.append(f"{tier} {' / '.join(_depth_in_words(row['crossing']) for row in of_tier)}")
            ends = (map(_depth_in_words, (row["crossing_low"], row["crossing_high"])) for row in of_tier)
            sure.append(f"{tier} {' / '.join('[' + ', '.join(pair) + ']' for pair in ends)}")
    models = " / ".join(dict.fromkeys(rows["model"]))
    yield Question(
        f"From which depth on is it at {share_of}?",
        escape(f"{'; '.join(answers)} ({models}; first: at or before the first trained depth)"),
        escape(f"{'; '.join(sure)} ({100 * results.decisions.confidence:g} % intervals)"),
    )


def _depth_in_words(depth: float) -> str:
    return "never" if depth == math.inf else "first" if depth == -math.inf else f"{depth:.2f}"


def _bias(results: Results, decided: Decided) -> Iterator[Question]:
    """Whether the class loss brings information, or a bias: in matched pairs of prompts a bias has no part."""
    rows = main_rows(results, overall(decided.effects, "order with class loss against w = 0"))
    if len(rows):
        words = {"above": "more with it", "below": "less with it", "none": "no difference", "undecided": "undecided"}
        told = Difference("Matched pairs in the right order, with the class loss minus w = 0", rows, words)
        yield _asked(results, "Does it tell classes apart, or favour one?", told)


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
    words = {"above": "yes", "below": "unrelated words do better", "none": "no", "undecided": "undecided"}
    told = [Difference("Choice accuracy, names minus unrelated words that fitted as well", rows, words)]
    order = main_rows(results, overall(decided.effects, "order of names against random_words"))
    if len(order):
        told.append(Difference("Matched pairs in the right order, names minus unrelated words", order, words))
    question = _asked(results, asks, *told)
    drawn = escape(_words_drawn(results))
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
        parts.append(f"{group}: labels that have to be remembered {remembered}, names {named}")
    new = f"; on new templates memory is at {share(float(unseen['choice'].mean()))}" if len(unseen) else ""
    answer = f"On templates whose labels were seen, with new operands: {'; '.join(parts)}{new}"
    sure = (
        "the figures above are on templates and operands that no training saw, where memory of either has nothing to "
        f"go by. {_count_fitted(decided, MEMORY)}"
    )
    return Question(asks, escape(answer), escape(sure))


def _manipulated(results: Results, decided: Decided) -> Iterator[Question]:
    for arm in arms_that_are("manipulation"):
        rows = main_rows(results, overall(decided.effects, f"plain against {arm}"))
        rows = rows[rows["tier"] == results.decisions.primary_tier]
        if len(rows):
            words = {"above": "less with it", "below": "more with it", "none": "nothing", "undecided": "undecided"}
            told = Difference(f"Choice accuracy, plain minus {words_of(arm)}", rows, words)
            question = _asked(results, f"Does it matter {ARMS[arm].asks}?", told)
            yield replace(question, answer=Markdown(f"{question.answer}{escape(_answers_kept(results, decided, arm))}"))


def _answers_kept(results: Results, decided: Decided, arm: str) -> str:
    """How many answers are right without a manipulation and with it, of few models."""
    first = results.plain[0].wordings[0]
    rows = main_rows(results, overall(decided.effects, f"answers of plain against {arm}"))
    rows = rows[rows["tier"] == first]
    kept = [f"{row['model']} {share(row['value'])} and {share(row['value_beside'])}" for row in rows.to_dict("records")]
    return f". Right answers on {first}, plain and so: {', '.join(kept)}" if 0 < len(kept) <= FEW_MODELS else ""


def _prompting(results: Results, decided: Decided) -> Iterator[Question]:
    asks = "Does the chat template change it?"
    rows = main_rows(results, overall(decided.effects, "plain prompts against chat"))
    planned = any(cell.model.endswith(CHAT) for cell in results.cells)
    if planned and rows.empty:
        yield Question(asks, NOT_RUN, Markdown("no such cell has finished beside a plain one"))
    if len(rows):
        words = {"above": "plain is better", "below": "chat is better", "none": "no", "undecided": "undecided"}
        yield _asked(results, asks, Difference("Choice accuracy, plain prompts minus the chat template", rows, words))


def _why(results: Results, decided: Decided) -> Question:
    asks, found = "Why there?", decided.associations
    models = decided.associations_by_model["model"].nunique()
    if decided.predictors.empty or not models:
        return Question(asks, NOT_RUN, Markdown("no predictors, or no transfer that they could predict"))
    explains, does_not = (list(found.loc[found["words"] == word, "predictor"]) for word in (EXPLAINS, DOES_NOT))
    if not explains and not does_not:
        few = f"{models} model{'s' if models > 1 else ''} decide{'s' if models == 1 else ''} nothing between models"
        return Question(asks, Markdown("**Not answered**"), Markdown(few))
    told = [f"explained by {', '.join(explains)}"] if explains else []
    told += [f"not explained by {', '.join(does_not)}"] if does_not else []
    others = len(found) - len(explains) - len(does_not)
    rest = f"; {others} of {len(found)} predictors undecided" if others else ""
    return Question(asks, escape("; ".join(told)), escape(f"{models} models left out in turn{rest}"))


def _missing(results: Results, decided: Decided, arm: str) -> Markdown:
    return escape(_count_fitted(decided, arm) or f"{words_of(arm)}: not run")


def _count_fitted(decided: Decided, arm: str) -> str:
    cells = decided.levels[decided.levels["arm"] == arm].drop_duplicates("unit")
    if cells.empty:
        return ""
    return f"{int(cells['fitted'].sum())} of {len(cells)} cells with {words_of(arm)} fitted"
