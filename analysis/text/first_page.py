"""The first page of a report: one sentence, one table of means, and questions with answers and how sure these are.

Everything on it is a number of table_means, table_effects, table_depths, table_shares or table_associations.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.results import Results
from analysis.data.terms import ARITHMETIC
from analysis.outcomes import Decided
from analysis.outcomes.depth import READABLE
from analysis.outcomes.prediction import EXPLAINS
from analysis.text.questions import questions
from analysis.text.telling import (
    FEW_MODELS,
    Question,
    depth_range,
    difference_rows,
    listed,
    main_rows,
    span,
    told_tiers,
)
from study.config.units import CHAT, number_text
from study.config.wordings import cues_of
from study.plan.expand import absolute_layer

MOST_PLACES = 4
"""Largest number of places that the sentence names."""
MOST_COLUMNS = 7
"""Largest number of depths in the table."""


@dataclass(frozen=True)
class FirstPage:
    """What the first page says."""

    sentence: Markdown
    head: list[str]
    rows: list[list[Markdown]]
    reading: Markdown
    """How the table is read."""
    order: list[list[Markdown]]
    """The rows of a second table, of matched pairs in the right order; none where no class has just one other."""
    questions: list[Question]
    difference_head: list[str]
    differences: list[list[Markdown]]
    """What the answers rest on, by tier and model; none of many models."""
    tables: tuple[str, ...] = ("effects", "depths", "shares", "associations")
    """Those that have every number of the answers."""
    picture: str = "depth"
    """Name of its figure."""


def first_page(results: Results, decided: Decided) -> FirstPage:
    """Return the first page; needs at least one finished plain cell with a class loss."""
    shown = main_series(results, decided.means)
    columns = asked_depths(results)
    asked = questions(results, decided)
    difference_head, differences = difference_rows(results, asked)
    return FirstPage(
        sentence=_sentence(results, decided),
        head=["wording", "model", *columns.values(), *_control_head(results, decided)],
        rows=_rows(results, decided, shown, columns, partial(_mean, alone=len(results.seeds) == 1)),
        reading=_reading(results, shown),
        order=_rows(results, decided, shown, columns, partial(_order, alone=len(results.seeds) == 1))
        if shown["order"].notna().any()
        else [],
        questions=asked,
        difference_head=difference_head,
        differences=differences,
    )


def main_series(results: Results, means: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `means` that the first page is about: plain cells of the first pair, of the weight that most
    have and of the wordings that come first, on templates that no training saw where a tier has some."""
    first = results.plain[0]
    own = means[
        (means["arm"] == "plain")
        & (means["pair"] == first.pair)
        & (means["weight"] == results.shown_weight)
        & (means["wordings"] == "+".join(first.wordings))
    ]
    return preferred(own)


def preferred(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows on templates that no training saw, and those of tiers that have none such."""
    unseen = set(rows.loc[rows["templates"] == "unseen", "tier"])
    return rows[(rows["templates"] == "unseen") | ~rows["tier"].isin(unseen)]


def asked_depths(results: Results) -> dict[float, str]:
    """Return the heads of the depths that the grid asks for, by depth: a relative depth as it is written, of which the
    layer is the nearest; evenly chosen where there are many."""
    heads: dict[float, str] = {}
    for cell in results.plain:
        near = [layer for layer in results.asked_depths if absolute_layer(layer, cell.blocks) == cell.layer]
        heads[near[0] if near else round(cell.depth, 2)] = number_text(near[0] if near else round(cell.depth, 2))
    chosen = sorted(heads)
    if len(chosen) > MOST_COLUMNS:
        chosen = [chosen[round(i * (len(chosen) - 1) / (MOST_COLUMNS - 1))] for i in range(MOST_COLUMNS)]
    return {depth: heads[depth] for depth in chosen}


def layer_at(results: Results, model: str, depth: float) -> int:
    """Return the layer of a model that a column is about."""
    blocks = next(cell.blocks for cell in results.cells if cell.model == model)
    return absolute_layer(float(depth), blocks)


def _rows(
    results: Results,
    decided: Decided,
    shown: pd.DataFrame,
    columns: dict[float, str],
    told: Callable[[Mapping[Any, Any] | None], Markdown],
) -> list[list[Markdown]]:
    rows = []
    for tier in told_tiers(results, shown):
        name = wording(results, shown, tier)
        for model in results.model_names:
            own = shown[(shown["model"] == model) & (shown["tier"] == tier)]
            if own.empty:
                continue
            by_layer = {int(row["layer"]): row for row in own.to_dict("records")}
            cells = [told(by_layer.get(layer_at(results, model, depth))) for depth in columns]
            rows.append([name, escape(model), *cells, *_control_cell(results, decided, own, model, tier, told)])
            name = Markdown("")
    return rows


def _mean(row: Mapping[Any, Any] | None, alone: bool) -> Markdown:
    """`94 [82-100] (76)`, `62* (50)` for one seed; bold where the interval lies above READABLE, in brackets w = 0."""
    if row is None:
        return Markdown("")
    if not row["seeds"]:
        return Markdown("did not fit")
    text = f"{100 * row['choice']:.0f}"
    low, high = (f"{100 * row[name]:.0f}" for name in ("lowest_seed", "highest_seed"))
    text += "\\*" if row["seeds"] == 1 else f" [{low}-{high}]" if low != high else ""
    return Markdown((f"**{text}**" if _bold(row, "choice", alone) else text) + _zero(row["zero_choice"]))


def _order(row: Mapping[Any, Any] | None, alone: bool) -> Markdown:
    """`98 (90, 85-96)`; bold where the interval lies above READABLE, in brackets w = 0 with the range of its seeds."""
    if row is None or not row["seeds"] or math.isnan(row["order"]):
        return Markdown("")
    text = f"{100 * row['order']:.0f}" + ("\\*" if row["seeds"] == 1 else "")
    ends = (row["zero_order_lowest_seed"], row["zero_order_highest_seed"])
    return Markdown((f"**{text}**" if _bold(row, "order", alone) else text) + _zero(row["zero_order"], *ends))


def _bold(row: Mapping[Any, Any], measure: str, alone: bool) -> bool:
    """Whether the interval lies above READABLE; of one seed only in a study of one (`alone`)."""
    return bool(row[f"{measure}_low"] > READABLE and (row["seeds"] > 1 or alone))


def _zero(share: float, lowest: float = math.nan, highest: float = math.nan) -> str:
    """` (76)`, or ` (43, 4-96)` with the range of the seeds."""
    if math.isnan(share):
        return ""
    mean, low, high = (f"{100 * part:.0f}" for part in (share, lowest, highest))
    return f" ({mean})" if low == high else f" ({mean}, {low}-{high})"


def wording(results: Results, rows: pd.DataFrame, tier: str) -> Markdown:
    """Return a tier with an example and the number of its templates that the figures are on."""
    own = rows[rows["tier"] == tier]
    example = results.terms.examples.get(tier)
    named = Markdown(f"{escape(tier)}, {example}") if example else escape(tier)
    sample = results.sample_of(tier)
    of = "new templates" if own["templates"].iloc[0] == "unseen" else "trained templates"
    new = of if sample == "templates" else f"new {sample} in {of}"
    counts = own.loc[own["seeds"] > 0, "samples"]
    if results.terms is ARITHMETIC:
        cues = len(set(cues_of(tier).values()))
        new += f" around {cues} cue{'s' if cues > 1 else ''}"
    return Markdown(f"{named} ({span(counts, 1)} {new})" if len(counts) else f"{named} ({new})")


def trained_by(results: Results, tier: str) -> str:
    """Return the trainings that saw templates of a tier, in words."""
    first = results.plain[0]
    told = []
    if results.nursery:
        own = set(results.model_names) <= set(results.nursery.models)
        told.append("pre-training" if own else "pre-training of the small models")
    if results.has_answers and tier in results.config.get("stage1", {}).get("wordings", ()):
        told.append("stage 1")
    if tier in first.wordings:
        told.append("stage 2")
    return " and ".join(told)


def _control_head(results: Results, decided: Decided) -> list[str]:
    there = _unrelated(results, decided.means)
    return [] if there.empty else ["unrelated words, deepest"]


def _unrelated(results: Results, means: pd.DataFrame) -> pd.DataFrame:
    first = results.plain[0]
    same = (means["pair"] == first.pair) & (means["weight"] == results.shown_weight)
    same &= means["wordings"] == "+".join(first.wordings)
    return preferred(means[(means["arm"] == "random_words") & same])


def _control_cell(
    results: Results,
    decided: Decided,
    own: pd.DataFrame,
    model: str,
    tier: str,
    told: Callable[[Mapping[Any, Any] | None], Markdown],
) -> list[Markdown]:
    there = _unrelated(results, decided.means)
    if there.empty:
        return []
    here = there[(there["model"] == model) & (there["tier"] == tier) & there["layer"].isin(own["layer"])]
    if here.empty:
        return [Markdown("not run")]
    last = here.sort_values("layer").iloc[-1]
    return [told(last.to_dict()) if last["seeds"] else Markdown("did not fit")]


def _reading(results: Results, shown: pd.DataFrame) -> Markdown:
    first, terms = results.plain[0], results.terms
    seeds = shown["seeds"].max()
    names = " and ".join(f"` {token}`" for token in first.class_names)
    samples = listed(list(dict.fromkeys(map(results.sample_of, told_tiers(results, shown)))))
    over = f"{samples} and seeds" if seeds > 1 else samples
    by_tier = {tier: trained_by(results, tier) for tier in told_tiers(results, shown)}
    others = [f"{by} of {tier}" for tier, by in by_tier.items() if by]
    saw = f" Other templates were seen by {', by '.join(others)}." if others else ""
    about = "; ".join(filter(None, (_described(results, model) for model in results.model_names)))
    about = f" {escape(about)}." if about and len(results.model_names) <= FEW_MODELS else ""
    alone = "" if results.has_answers else " The prompts have labels alone: nothing is said of answers."
    several = ("Mean over seeds [lowest-highest], " if seeds > 1 else "") + "\\* one seed; "
    if shown["zero_choice"].notna().any():
        several += f"in brackets: {results.terms.without}, read in the same way; "
    return Markdown(
        f"Choice accuracy in % between the class tokens {names} at the trained layer, by the relative depth that was "
        f"asked for, of which the nearest layer is trained; chance is {100 * first.chance:.0f}. The class loss saw "
        f"{escape(' and '.join(first.wordings))} alone, with w = {number_text(results.shown_weight)}; "
        f"{escape(terms.group)}s {_new_to_training(shown)}.{escape(saw)}{alone} {several}bold: the "
        f"{100 * results.decisions.confidence:g} % interval over {over} lies above {100 * READABLE:.0f} %."
        f"{_of_cues(results)}{about}"
    )


def _new_to_training(shown: pd.DataFrame) -> str:
    """What of the prompts besides their groups no training saw: a custom task may have no new templates in a tier."""
    if (shown["templates"] == "unseen").all():
        return "and templates are new to every training"
    return "are new to every training, and templates where a row says so"


def _of_cues(results: Results) -> str:
    if results.terms is not ARITHMETIC:
        return ""
    return (
        " New templates are new sentences around known cues, the words that tell the operations apart: of other cues "
        "the intervals say nothing."
    )


def _described(results: Results, model: str) -> str:
    """`smollm2-135m is SmolLM2-135M-Instruct, dequantised from Q4_1, prompted without its chat template`."""
    entry = results.models.get(model.removesuffix(CHAT), {})
    note = str(entry.get("note") or "").partition(";")[0]
    if not note:
        return ""
    plainly = ", prompted without its chat template" if entry.get("chat") and not model.endswith(CHAT) else ""
    return f"{model} is {note}{plainly}"


def _sentence(results: Results, decided: Decided) -> Markdown:
    """Say from which depth each tier can be read, by model; tiers with the same words are told together."""
    first = results.plain[0]
    models = {model.removesuffix(CHAT) for model in results.model_names}
    rows = decided.depths
    own = main_rows(results, rows[rows["arm"] == "plain"]) if len(rows) else rows
    clauses: dict[str, list[str]] = {}
    for tier in told_tiers(results, main_rows(results, decided.means)):
        at_tier = own[own["tier"] == tier]
        at_depths = _depths_said(results, decided, at_tier) if len(at_tier) else ""
        at_one = _levels_said(results, decided, tier, set(at_tier["model"]))
        clauses.setdefault(", and ".join(filter(None, (at_depths, at_one))), []).append(tier)
    parts = [f"on {listed(tiers)} {said}" for said, tiers in clauses.items() if said]
    why = _why_said(decided, len(models))
    if not parts:
        return escape(
            "No class token was trained into a layer: no class loss ended below chance. More stage2.steps, or a higher "
            f"stage2.learning_rate, may bring it down. {why}"
        )
    interval = f"(in brackets {100 * results.decisions.confidence:g} % intervals of the depth)"
    reach = f", at {100 * READABLE:.0f} % or more {interval}" if len(own) else ""
    shown = main_rows(results, main_series(results, decided.means))
    without = _without(results, shown)
    return Markdown(
        f"A class token that is trained into a layer on {escape(listed(first.wordings))} prompts is read there, "
        f"{escape(_on_what(results, shown))}{escape(reach)}: "
        f"{escape('; '.join(parts))}. {escape(without)}{escape(why)}"
    )


def _on_what(results: Results, shown: pd.DataFrame) -> str:
    """What was new in the prompts that the sentence is about: a custom task may have no new templates in some tiers."""
    new = f"with {results.terms.group}s that no training saw"
    if (shown["templates"] == "unseen").all():
        return f"in templates and {new}"
    if (shown["templates"] == "unseen").any():
        return f"{new}, and in such templates where a wording has some"
    return f"{new}, in templates that training saw"


def _without(results: Results, shown: pd.DataFrame) -> str:
    """Where the model reads so without a class loss."""
    known = shown[shown["zero_choice"].notna()]
    if known.empty:
        return ""
    there = known[known["zero_choice"] >= READABLE]
    places = [
        f"at {depth:.2f} in {model} on {listed(list(rows['tier']))}"
        for (model, depth), rows in there.groupby(["model", "depth"], sort=False)
    ]
    if len(places) > MOST_PLACES:
        places = [f"in {len(there)} of {len(known)} of these places"]
    reached = listed(places) if places else "nowhere"
    when = "After the same steps without a class loss" if results.has_answers else "In the model as it came"
    return f"{when} the mean reaches {100 * READABLE:.0f} % {reached}. "


def _depths_said(results: Results, decided: Decided, rows: pd.DataFrame) -> str:
    """From which depth on a tier is read, by model, and where it is not again below that."""
    shown = main_series(results, decided.means)
    by_depth: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        crossing = float(row["crossing"])
        own = shown[(shown["model"] == row["model"]) & (shown["tier"] == row["tier"]) & (shown["seeds"] > 0)]
        first = max(crossing, own["depth"].min())
        said = f"from relative depth {first:.1f} on"
        if crossing == math.inf:
            said = "at no trained depth"
        elif crossing == -math.inf:
            said = f"from the first trained depth on ({first:.1f})"
        if row["crossing_low"] != row["crossing_high"]:
            said += f" {depth_range(row)}"
        if again := sorted(own.loc[(own["depth"] > first) & (own["choice"] < READABLE), "depth"]):
            said += f", but not at {listed([f'{depth:.2f}' for depth in again])}"
        by_depth.setdefault(said, []).append(str(row["model"]))
    if len(by_depth) == 1 and len(rows) == len(results.model_names):
        (said,) = by_depth
        return said if len(rows) == 1 else f"{said} in {_all(len(rows))} models"
    return ", ".join(f"{said} in {listed(models)}" for said, models in by_depth.items())


def _levels_said(results: Results, decided: Decided, tier: str, others: Collection[str]) -> str:
    """Of models at a single depth, but for `others`, which are told already: whether it is read there."""
    shown = main_series(results, decided.means)
    own = shown[(shown["tier"] == tier) & (shown["seeds"] > 0) & ~shown["model"].isin(others)]
    if own.empty:
        return ""
    chance = results.plain[0].chance
    said: dict[bool, list[str]] = {True: [], False: []}
    for row in own.to_dict("records"):
        told = f"{100 * row['choice']:.0f} % in {row['model']} at {row['depth']:.2f}"
        said[bool(row["choice_low"] > chance)].append(told)
    unproved = "not shown to be above chance"
    if not said[True]:
        return f"by {', '.join(said[False])}, {unproved}"
    return "by " + ", ".join(said[True]) + (f", and, {unproved}, {', '.join(said[False])}" if said[False] else "")


def _why_said(decided: Decided, models: int) -> str:
    found = decided.associations[decided.associations.get("words", pd.Series(dtype=str)) == EXPLAINS]
    if len(found):
        return f"Why there: {listed(list(found['predictor']))} tells models apart."
    return f"{models} model{'s' if models > 1 else ''}: why there is not answered here."


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"
