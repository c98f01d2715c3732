"""How the questions of the first page are told: their numbers by tier and model, and the verdicts on them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import signed, signed_points
from analysis.data.results import Results
from analysis.outcomes.effects import CEILING, FLOOR, UNDECIDED
from analysis.statistics.intervals import Interval, interval_of
from study.config.units import CHAT

NOT_RUN = Markdown("**Not tested**")
FEW_MODELS = 3
"""Of more models, the page gives ranges and counts, and the sections below every figure."""
NEAR = 0.06
"""Distance from chance within which a choice accuracy is said to be near it."""
AT_CEILING: dict[str, str] = {CEILING: "both near 100 %"}


@dataclass(frozen=True)
class Difference:
    """A difference that a question rests on: rows of table_effects, over all depths, of one contrast."""

    what: str
    """What is subtracted from what, of which measure."""
    rows: pd.DataFrame
    words: Mapping[str, str]
    """What each verdict says in answer to the question."""


@dataclass(frozen=True)
class Question:
    """A question of the first page."""

    asks: str
    answer: Markdown
    sure: Markdown
    differences: Sequence[Difference] = ()


def main_rows(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a frame that are about the first pair, the weight that most cells have and the first
    wordings, of models that are prompted plainly, where there are some: the chat template has a question of its own."""
    first = results.plain[0]
    same = (rows["pair"] == first.pair) & (rows["wordings"] == "+".join(first.wordings))
    own = rows[same & (rows["weight"] == results.shown_weight)]
    plainly = ~own["model"].str.endswith(CHAT)
    return own[plainly] if plainly.any() else own


def by_verdict(results: Results, difference: Difference) -> Markdown:
    """`Choice accuracy, a minus b: alpha: yes (semantic +7.3), undecided (story +2.3); beta: …`, in points; of many
    models the mean and the range, by tier."""
    rows, words = difference.rows, AT_CEILING | dict(difference.words)
    single = set(rows.loc[rows["seeds"] == 1, "model"]) if len(results.seeds) > 1 else set()
    models = _models_of(rows)
    if len(models) > FEW_MODELS:
        told = mean_and_range(results, rows)
    else:
        named = {
            model: f"{model} (one seed)" if model in single and len(single) < len(models) else model for model in models
        }
        told = "; ".join(f"{named[model]}: {_verdicts_of(results, rows, model, words)}" for model in models)
    seed = ", of one seed" if len(single) == len(models) else ""
    return escape(f"{difference.what}, in points{seed}: {told}")


def _verdicts_of(results: Results, rows: pd.DataFrame, model: str, words: Mapping[str, str]) -> str:
    by_tier = {row["tier"]: row for row in rows[rows["model"] == model].to_dict("records")}
    said: dict[str, list[str]] = {}
    for tier in told_tiers(results, rows):
        if row := by_tier.get(tier):
            said.setdefault(_word(results, row, words), []).append(f"{tier} {number(100 * row['difference'])}")
    return ", ".join(f"{word} ({', '.join(tiers)})" for word, tiers in said.items())


def _word(results: Results, row: Mapping[Any, Any], words: Mapping[str, str]) -> str:
    """What a verdict says; of one seed of several that cells of one kind differ by, none is told."""
    if _of_one_seed(results, row) and row["verdict"] != CEILING:
        return "not decided by one seed"
    if row["verdict"] == "none" and row["measure"] == "choice" and _at_chance(results, row):
        return "both near chance"
    return words[row["verdict"]]


def _at_chance(results: Results, row: Mapping[Any, Any]) -> bool:
    """Whether both sides of a difference are within NEAR of chance, where there is nothing to differ."""
    chance = results.plain[0].chance
    return bool(max(abs(row[side] - chance) for side in ("value", "value_beside")) <= NEAR)


def mean_and_range(results: Results, rows: pd.DataFrame) -> str:
    parts = []
    for tier in told_tiers(results, rows):
        values = 100 * rows.loc[rows["tier"] == tier, "difference"]
        parts.append(f"{tier} {number(values.mean())} ({number(values.min())} to {number(values.max())})")
    return f"{', '.join(parts)} (mean and range of {rows['model'].nunique()} models)"


def how_decided(results: Results, difference: Difference) -> Markdown:
    """On which intervals verdicts rest; of many models, how many have each."""
    rows, words = difference.rows, AT_CEILING | dict(difference.words)
    few, seeds = rows["seeds"].min(), rows["seeds"].max()
    several = f"{few} to {seeds}" if few < seeds else f"{seeds}"
    over = f"{results.samples_are} and {several} seeds" if seeds > 1 else f"{results.samples_are} of one seed"
    intervals = f"{100 * results.decisions.confidence:g} % intervals over {over}"
    if rows["model"].nunique() <= FEW_MODELS:
        return escape(f"{intervals}, of means over depths: table of differences below")
    parts = []
    for tier in told_tiers(results, rows):
        own = rows[rows["tier"] == tier].to_dict("records")
        counts = Counter(_word(results, row, words) for row in own)
        parts.append(f"{tier}: " + ", ".join(f"{word} in {count}" for word, count in counts.most_common()))
    return escape(f"{'; '.join(parts)} ({intervals})")


def difference_rows(results: Results, questions: Sequence[Question]) -> tuple[list[str], list[list[Markdown]]]:
    """Return head and rows of the table of differences: one row a difference and tier, a column for each model; none
    where there are more models than the page can name."""
    told = [difference for question in questions for difference in question.differences]
    there = {model for difference in told for model in difference.rows["model"]}
    models = [model for model in results.model_names if model in there]
    if len(models) > FEW_MODELS:
        return [], []
    rows = []
    for difference in told:
        name = escape(difference.what)
        for tier in told_tiers(results, difference.rows):
            here = difference.rows[difference.rows["tier"] == tier]
            by_model = {str(row["model"]): row for row in here.to_dict("records")}
            rows.append([name, escape(tier), *(_difference(results, by_model.get(model)) for model in models)])
            name = Markdown("")
    return ["difference", "tier", *models], rows


def _of_one_seed(results: Results, row: Mapping[Any, Any]) -> bool:
    """Whether a row is of one seed of a study that has more, of which it says nothing."""
    return bool(row["seeds"] == 1 and len(results.seeds) > 1)


def _difference(results: Results, row: Mapping[Any, Any] | None) -> Markdown:
    """`+22.7 [-20.6, +66.0], seeds +2.8 to +33.3`; bold where the interval decides, over several seeds if there are."""
    if row is None:
        return Markdown("")
    text = signed_points(interval_of(row, "difference"))
    if _of_one_seed(results, row):
        return Markdown(f"{text}, one seed")
    text = text if row["verdict"] in (UNDECIDED, CEILING, FLOOR) else f"**{text}**"
    if row["seeds"] > 1:
        text += f", seeds {number(100 * row['lowest_seed'])} to {number(100 * row['highest_seed'])}"
    return Markdown(text)


def _models_of(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["model"]))


def told_tiers(results: Results, rows: pd.DataFrame) -> list[str]:
    """Return the tiers that rows are about, in the order of the task."""
    return [tier for tier in results.tiers if tier in set(rows["tier"])]


def depth_words(row: Mapping[Any, Any]) -> str:
    """From which relative depth on a tier is readable: `0.68`, `first` or `never`."""
    return _depth(row["crossing"])


def depth_range(row: Mapping[Any, Any]) -> str:
    """The interval of that depth: `[0.28, never]`."""
    return f"[{_depth(row['crossing_low'])}, {_depth(row['crossing_high'])}]"


def _depth(depth: float) -> str:
    return "never" if depth == math.inf else "first" if depth == -math.inf else f"{depth:.2f}"


def number(value: float) -> str:
    return signed(Interval(value, float("nan"), float("nan")), 1)


def span(values: "pd.Series[float]", scale: float) -> str:
    low, high = (f"{round(scale * value) + 0:d}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def groups(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The models of rows, each by itself; all together where they are more than the page can name."""
    models = _models_of(rows)
    return {model: [model] for model in models} if len(models) <= FEW_MODELS else {f"{len(models)} models": models}


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; needs at least one."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
