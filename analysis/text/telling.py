"""How the questions of the first page are told: their numbers by tier and model, and the verdicts on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import signed
from analysis.data.results import Results
from analysis.outcomes.effects import CEILING
from analysis.statistics.intervals import Interval, interval_of

NOT_RUN = Markdown("**Not tested**")
FEW_MODELS = 3
"""Of more models, the page gives ranges and counts, and the sections below every figure."""
AT_CEILING: dict[str, str] = {CEILING: "both are right nearly always: cannot tell"}


@dataclass(frozen=True)
class Question:
    """A question of the first page."""

    asks: str
    answer: Markdown
    sure: Markdown


def main_rows(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a frame that are about the first pair, the weight that most cells have and the first
    wordings."""
    first = results.plain[0]
    same = (rows["pair"] == first.pair) & (rows["wordings"] == "+".join(first.wordings))
    return rows[same & (rows["weight"] == results.shown_weight)]


def by_tier(results: Results, rows: pd.DataFrame, what: str) -> Markdown:
    """`symbolic -2.2 / -2.7, semantic …: points, a / b`; of many models the mean and the range."""
    parts = []
    for tier in _tiers_of(results, rows):
        values = 100 * rows.loc[rows["tier"] == tier, "difference"]
        if len(values) <= FEW_MODELS:
            parts.append(f"{tier} {' / '.join(map(number, values))}")
        else:
            parts.append(f"{tier} {number(values.mean())} ({number(values.min())} to {number(values.max())})")
    models = list(dict.fromkeys(rows["model"]))
    named = " / ".join(models) if len(models) <= FEW_MODELS else f"mean and range of {len(models)} models"
    return escape(f"{', '.join(parts)} points: {what} ({named})")


def verdicts(rows: pd.DataFrame, words: "dict[str, str]", results: Results) -> Markdown:
    """Which verdict each tier and model has, with the interval and the range of the seeds; of many models counts."""
    parts = []
    for tier in _tiers_of(results, rows):
        here = rows[rows["tier"] == tier]
        if len(here) <= FEW_MODELS:
            parts.append(f"{tier}: {', '.join(_sure(row, words) for row in here.to_dict('records'))}")
        else:
            counts = here["verdict"].map(AT_CEILING | words).value_counts()
            parts.append(f"{tier}: " + ", ".join(f"{word} in {count}" for word, count in counts.items()))
    over = "templates and seeds" if rows["seeds"].max() > 1 else "templates, one seed"
    return escape(f"{'; '.join(parts)} ({100 * results.decisions.confidence:g} % intervals over {over})")


def _sure(row: Mapping[Any, Any], words: "dict[str, str]") -> str:
    found = Interval(*(100 * part for part in interval_of(row, "difference")))
    text = f"{(AT_CEILING | words)[row['verdict']]} [{number(found.low)}, {number(found.high)}]"
    if row["seeds"] > 1:
        text += f", seeds {number(100 * row['lowest_seed'])} to {number(100 * row['highest_seed'])}"
    return text


def _tiers_of(results: Results, rows: pd.DataFrame) -> list[str]:
    """The tiers that the page tells of: of answers those that are judged, else all."""
    wanted = results.judged_tiers if (rows["measure"] == "right").all() else results.tiers
    return [tier for tier in wanted if tier in set(rows["tier"])]


def number(value: float) -> str:
    return signed(Interval(value, float("nan"), float("nan")), 1)


def span(values: "pd.Series[float]", scale: float) -> str:
    low, high = (f"{round(scale * value) + 0:d}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def groups(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The models of rows, each by itself; all together where they are more than the page can name."""
    models = list(dict.fromkeys(rows["model"]))
    return {model: [model] for model in models} if len(models) <= FEW_MODELS else {f"{len(models)} models": models}
