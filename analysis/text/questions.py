"""The questions of the first page, with an answer in numbers and how sure it is, made from the frames of decisions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import share, signed
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.effects import FLOOR, overall
from analysis.outcomes.emergence import MEMORY
from analysis.outcomes.prediction import DOES_NOT, EXPLAINS
from analysis.statistics.intervals import Interval, interval_of
from study.config.arms import ARMS, arms_that_are, words_of

NOT_RUN = Markdown("**Not tested**")
FEW_MODELS = 3
"""Of more models, the page gives ranges and counts, and the sections below every figure."""


@dataclass(frozen=True)
class Question:
    """A question of the first page."""

    asks: str
    answer: Markdown
    sure: Markdown


def questions(results: Results, decided: Decided) -> list[Question]:
    """Return the questions, in the order of the page."""
    return [
        _cost(results, decided),
        _meaning(results, decided),
        _memory(results, decided),
        _use(results, decided),
        *_manipulated(results, decided),
        *_prompting(results, decided),
        _why(results, decided),
    ]


def main(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a frame that are about the first pair, the weight that most cells have and the first
    wordings."""
    first = results.plain[0]
    same = (rows["pair"] == first.pair) & (rows["wordings"] == "+".join(first.wordings))
    return rows[same & (rows["weight"] == results.shown_weight)]


def _cost(results: Results, decided: Decided) -> Question:
    asks = "Does it cost answers?"
    rows = main(results, overall(decided.effects, "cost against w = 0"))
    if rows.empty:
        return Question(asks, NOT_RUN, Markdown("no finished cell with w = 0 beside it"))
    margin = 100 * results.decisions.non_inferiority_margin
    answer = _by_tier(results, rows, "answers, against the same steps without a class loss")
    words = {"preserved": f"kept within the margin of {margin:g} points", "hurt": "hurt", "undecided": "undecided"}
    words[FLOOR] = "too few are right to show it"
    return Question(asks, answer, _verdicts(rows, words, results))


def _meaning(results: Results, decided: Decided) -> Question:
    asks = "Do the words' meanings matter?"
    rows = main(results, overall(decided.effects, "names against random_words"))
    if rows.empty:
        return Question(asks, NOT_RUN, _missing(results, decided, "random_words"))
    answer = _by_tier(results, rows, "choice accuracy, names minus unrelated words that fitted as well")
    words = {"above": "yes", "below": "unrelated words do better", "none": "no", "undecided": "undecided"}
    return Question(asks, answer, _verdicts(rows, words, results))


def _memory(results: Results, decided: Decided) -> Question:
    asks = "Was it only memory?"
    rows = main(results, overall(decided.effects, f"names against {MEMORY}"))
    rows = rows[rows["tier"].isin(results.plain[0].wordings)]
    if rows.empty:
        return Question(asks, NOT_RUN, _missing(results, decided, MEMORY))
    means = main(results, decided.means[decided.means["arm"] == MEMORY])
    unseen = means[means["tier"].isin(results.plain[0].wordings) & (means["templates"] == "unseen")]
    parts = []
    for group, models in _groups(rows).items():
        of = rows[rows["model"].isin(models)]
        remembered, named = (f"{_range(of[column], 100)} %" for column in ("value_beside", "value"))
        parts.append(f"{group}: labels that have to be remembered reach {remembered}, names {named}")
    new = f"; on new templates memory is at {share(float(unseen['choice'].mean()))}" if len(unseen) else ""
    answer = f"On templates whose labels were seen, with new operands: {'; '.join(parts)}{new}"
    sure = (
        "the figures above are on templates and operands that no training saw, where memory of either has nothing to "
        f"go by. {_count_fitted(decided, MEMORY)}"
    )
    return Question(asks, escape(answer), escape(sure))


def _use(results: Results, decided: Decided) -> Question:
    asks = "Does the network use it?"
    rows, wordings = decided.shares, "+".join(results.plain[0].wordings)
    own = main(results, rows)
    if own.empty:
        return Question(asks, NOT_RUN, Markdown("no exchange of states, or no prompt that is answered right"))
    zero = rows[(rows["weight"] == 0) & (rows["wordings"] == wordings)]
    parts, sure = [], []
    for group, models in _groups(own).items():
        possible, without = (of[of["model"].isin(models) & of["ceiling"].astype(bool)] for of in (own, zero))
        if possible.empty:
            parts.append(f"{group}: exchanging the whole state at the layer does not move the answer either")
            continue
        of_class = possible[possible["subspace"] == "class"]
        beside = _shares_of(without, "class")
        part = f"{group}: {_shares_of(possible, 'class')} of what exchanging the whole state does"
        part += f" (w = 0: {beside})" if beside else ""
        learned = _shares_of(possible, "paired_4")
        parts.append(f"{part}, a subspace of rank 4 that is fitted to such exchanges {learned}" if learned else part)
        shown, most = int((of_class["moved_low"] > 0).sum()), 100 * of_class["share_high"].max()
        percent = f"{100 * results.decisions.confidence:g} %"
        sure.append(
            f"{group}: class direction above a random one in {shown} of {len(of_class)} layers and tiers; no "
            f"{percent} interval reaches above {most:.0f} %"
        )
    answer = f"Exchanging the class direction with that of the same prompt for another {results.terms.kind} moves the "
    return Question(
        asks,
        escape(f"{answer}answer by {'; '.join(parts)}"),
        escape("; ".join(sure) or "the state at the layer may not be where it is read"),
    )


def _groups(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The models of rows, each by itself; all together where they are more than the page can name."""
    models = list(dict.fromkeys(rows["model"]))
    return {model: [model] for model in models} if len(models) <= FEW_MODELS else {f"{len(models)} models": models}


def _shares_of(rows: pd.DataFrame, subspace: str) -> str:
    """`0 to 3 %`, nothing where the subspace was not exchanged."""
    values = rows.loc[rows["subspace"] == subspace, "share"]
    return f"{_range(values, 100)} %" if len(values) else ""


def _manipulated(results: Results, decided: Decided) -> Iterator[Question]:
    for arm in arms_that_are("manipulation"):
        rows = main(results, overall(decided.effects, f"plain against {arm}"))
        rows = rows[rows["tier"] == results.decisions.primary_tier]
        if len(rows):
            words = {"above": "less with it", "below": "more with it", "none": "nothing", "undecided": "undecided"}
            answer = _by_tier(results, rows, f"choice accuracy, plain minus {words_of(arm)}")
            yield Question(f"Does it matter {ARMS[arm].asks}?", answer, _verdicts(rows, words, results))


def _prompting(results: Results, decided: Decided) -> Iterator[Question]:
    rows = main(results, overall(decided.effects, "plain prompts against chat"))
    if len(rows):
        answer = _by_tier(results, rows, "choice accuracy, plain prompts minus the chat template")
        words = {"above": "plain is better", "below": "chat is better", "none": "no", "undecided": "undecided"}
        yield Question("Does the chat template change it?", answer, _verdicts(rows, words, results))


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


def _by_tier(results: Results, rows: pd.DataFrame, what: str) -> Markdown:
    """`symbolic -2.2 / -2.7, semantic …: points, a / b`; of many models the mean and the range."""
    parts = []
    for tier in _tiers_of(results, rows):
        values = 100 * rows.loc[rows["tier"] == tier, "difference"]
        if len(values) <= FEW_MODELS:
            parts.append(f"{tier} {' / '.join(map(_number, values))}")
        else:
            parts.append(f"{tier} {_number(values.mean())} ({_number(values.min())} to {_number(values.max())})")
    models = list(dict.fromkeys(rows["model"]))
    named = " / ".join(models) if len(models) <= FEW_MODELS else f"mean and range of {len(models)} models"
    return escape(f"{', '.join(parts)} points: {what} ({named})")


def _verdicts(rows: pd.DataFrame, words: "dict[str, str]", results: Results) -> Markdown:
    """Which verdict each tier and model has, with the interval and the range of the seeds; of many models counts."""
    parts = []
    for tier in _tiers_of(results, rows):
        here = rows[rows["tier"] == tier]
        if len(here) <= FEW_MODELS:
            parts.append(f"{tier}: {', '.join(_sure(row, words) for row in here.to_dict('records'))}")
        else:
            counts = here["verdict"].map(words).value_counts()
            parts.append(f"{tier}: " + ", ".join(f"{word} in {count}" for word, count in counts.items()))
    over = "templates and seeds" if rows["seeds"].max() > 1 else "templates, one seed"
    return escape(f"{'; '.join(parts)} ({100 * results.decisions.confidence:g} % intervals over {over})")


def _sure(row: Mapping[Any, Any], words: "dict[str, str]") -> str:
    found = Interval(*(100 * part for part in interval_of(row, "difference")))
    text = f"{words[row['verdict']]} [{_number(found.low)}, {_number(found.high)}]"
    if row["seeds"] > 1:
        text += f", seeds {_number(100 * row['lowest_seed'])} to {_number(100 * row['highest_seed'])}"
    return text


def _tiers_of(results: Results, rows: pd.DataFrame) -> list[str]:
    """The tiers that the page tells of: of answers all that are judged, else the trained ones and the primary one."""
    told = (*results.plain[0].wordings, results.decisions.primary_tier)
    wanted = results.judged_tiers if (rows["measure"] == "right").all() else told
    return [tier for tier in results.tiers if tier in wanted and tier in set(rows["tier"])]


def _number(value: float) -> str:
    return signed(Interval(value, float("nan"), float("nan")), 1)


def _missing(results: Results, decided: Decided, arm: str) -> Markdown:
    return escape(_count_fitted(decided, arm) or f"{words_of(arm)}: not run")


def _count_fitted(decided: Decided, arm: str) -> str:
    cells = decided.levels[decided.levels["arm"] == arm].drop_duplicates("unit")
    if cells.empty:
        return ""
    return f"{int(cells['fitted'].sum())} of {len(cells)} cells with {words_of(arm)} fitted"


def _range(values: "pd.Series[float]", scale: float) -> str:
    low, high = (f"{round(scale * value) + 0:d}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
