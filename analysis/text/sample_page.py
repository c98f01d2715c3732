"""The first page of a report on a designed sample of small models: what sets how much of a wording is read.

Everything on it is a number of table_areas, table_variance, table_factors, table_manipulations, table_means,
table_effects, table_explained or table_forecast.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.markdown import Markdown, code, escape
from analysis.data.numbers import signed_points, signed_probability
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.effects import FLOOR, overall
from analysis.outcomes.factors import ALL_TIERS
from analysis.outcomes.forecast import FEATURES
from analysis.outcomes.prediction import EXPLAINS
from analysis.outcomes.sample import ALL_TASKS, learned, main_cells
from analysis.statistics.intervals import interval_of
from analysis.text.first_page import FirstPage, asked_depths, layer_at
from analysis.text.questions import why
from analysis.text.telling import NOT_RUN, Question, listed
from study.config.arms import ARMS, adapters_of, arms_that_are, words_of
from study.config.designs import CONTRASTS
from study.config.evaluation import Evaluation
from study.config.predictors import PREDICTORS
from study.config.small_tasks import SmallTasks
from study.config.units import number_text
from study.tasks.small import Small

NEARLY_ALL, NEARLY_NONE = 0.75, 0.25
"""Mean areas from which on a wording is said to be read nearly everywhere, and up to which nearly nowhere."""
OF_ARCHITECTURE = ("architecture", "architecture x tier")


def sample_page(results: Results, decided: Decided) -> FirstPage:
    """Return the first page; needs the areas of at least one model that learned its task."""
    areas = learned(decided.areas)
    columns = asked_depths(results)
    return FirstPage(
        sentence=_sentence(results, decided, areas),
        head=["task", "wording", "for example", "models", "area", "range", *columns.values(), "right answers"],
        rows=_rows(results, decided, areas, list(columns)),
        reading=_reading(results, areas),
        order=[],
        questions=[
            _sources(results, decided),
            _designs(results, decided),
            why(results, decided),
            *_manipulated(results, decided),
            _another_model(decided),
            _cost(results, decided),
        ],
        difference_head=[],
        differences=[],
        tables=("areas", "variance", "factors", "manipulations", "explained", "forecast"),
        picture="areas",
    )


def _by_tier(results: Results, areas: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the areas of each tier, in the order of the tasks: means over seeds, a row a model."""
    means = areas.groupby(["tier", "pair", "model"], sort=False, as_index=False)[["area", "answers"]].mean()
    return {tier: means[means["tier"] == tier] for tier in results.tiers if tier in set(means["tier"])}


def _sentence(results: Results, decided: Decided, areas: pd.DataFrame) -> Markdown:
    by_tier = {tier: rows["area"].mean() for tier, rows in _by_tier(results, areas).items()}
    told = {
        "nearly everywhere": [tier for tier, area in by_tier.items() if area >= NEARLY_ALL],
        "in part": [tier for tier, area in by_tier.items() if NEARLY_NONE < area < NEARLY_ALL],
        "nearly nowhere": [tier for tier, area in by_tier.items() if area <= NEARLY_NONE],
    }
    read = ", ".join(f"{where} on {listed(tiers)}" for where, tiers in told.items() if tiers)
    models = f"{_counted(areas['model'], 'model')} of {_counted(areas['architecture'], 'architecture')}"
    return escape(
        f"In {models}, a class token that is trained into a block on the easiest wordings of a task is read over the "
        f"depth of the model: {read}. {_what_sets(decided)} {_what_foretells(decided) or _what_explains(decided)}"
    )


def _counted(names: pd.Series, what: str) -> str:
    count = names.nunique()
    return f"{count} {what}{'s' if count > 1 else ''}"


def _shares(decided: Decided) -> dict[str, dict[Any, Any]]:
    """The shares of all tasks together, or of the only one, by component."""
    found = decided.variance
    together = found[found["pair"] == ALL_TASKS]
    return {row["component"]: row for row in (together if len(together) else found).to_dict("records")}


def _what_sets(decided: Decided) -> str:
    found = _shares(decided)
    if "tier" not in found or "architecture" not in found:
        return "What it varies with is not decided: fewer than three architectures have all seeds and wordings."
    tier, of = found["tier"], {name: found[name] for name in OF_ARCHITECTURE if name in found}
    low, high = (sum(row[f"share_{end}"] for row in of.values()) for end in ("low", "high"))
    verdict = "It is undecided whether this varies more with what is asked or with the architecture"
    if tier["share_low"] > high:
        verdict = "This varies with what is asked, more than with the architecture"
    elif tier["share_high"] < low:
        verdict = "This varies with the architecture, more than with what is asked"
    parts = ", ".join(f"{_percent(row)} {_named(name)}" for name, row in of.items())
    return f"{verdict}: of the variance of areas {_percent(tier)} is of the wording, {parts}."


def _named(component: str) -> str:
    return {"architecture": "of the architecture", "architecture x tier": "of an architecture at single wordings"}.get(
        component, f"of the {component}"
    )


def _percent(row: Mapping[Any, Any]) -> str:
    return f"{100 * row['share']:.0f} % [{100 * row['share_low']:.0f}, {100 * row['share_high']:.0f}]"


def _what_explains(decided: Decided) -> str:
    found = decided.explained
    if found.empty or found["p"].isna().all():
        return "Why there is not decided by so few architectures."
    names = list(found.loc[found["words"] == EXPLAINS, "predictor"])
    if not names:
        return "No measurement of the models before says more about other architectures."
    told = listed([PREDICTORS[name].words for name in names])
    return f"Within a wording, where it is read follows from what is measured before: {told}."


def _what_foretells(decided: Decided) -> str:
    """What orders layers and wordings in architectures that were left out, where it does so better than depth."""
    better = [row for row in decided.forecast.to_dict("records") if row["rank"] > row["baseline_rank"]]
    if not better:
        return ""
    told = listed([f"{row['rank']:.2f} with {adapters_of(str(row['arm']))}" for row in better])
    return (
        "What a linear probe that is fitted on the first wording makes of the others, before any class is trained, "
        f"foretells where they are read in other architectures (rank correlation {told})."
    )


def _rows(results: Results, decided: Decided, areas: pd.DataFrame, depths: list[float]) -> list[list[Markdown]]:
    means = decided.means
    main = {(cell.model, cell.pair, "+".join(cell.wordings)) for cell in main_cells(results)}
    own = means[(means["arm"] == "plain") & (means["weight"] == results.shown_weight) & (means["seeds"] > 0)]
    own = own[[key in main for key in zip(own["model"], own["pair"], own["wordings"], strict=True)]]
    own = own[own["templates"] == "unseen"]
    choice = own.set_index(["tier", "model", "layer"])["choice"]
    rows, task, examples = [], "", _examples(results)
    for tier, here in _by_tier(results, areas).items():
        pair = str(here["pair"].iloc[0])
        name, task = (pair if pair != task else ""), pair
        ends = f"{_area(here['area'].min())} to {_area(here['area'].max())}"
        at_depths = []
        for depth in depths:
            values = [choice.get((tier, model, layer_at(results, model, depth))) for model in here["model"]]
            known = [value for value in values if value is not None]
            at_depths.append(f"{100 * sum(known) / len(known):.0f}" if known else "")
        told = [str(len(here)), _area(here["area"].mean()), ends, *at_depths, f"{100 * here['answers'].mean():.0f}"]
        rows.append([escape(name), escape(tier), examples.get(tier, Markdown("")), *map(escape, told)])
    return rows


def _examples(results: Results) -> dict[str, Markdown]:
    """A prompt of each tier of the small tasks that cells were evaluated on, with its answer, of the second class."""
    written = results.config.get("data") or {}
    if "tasks" not in written:
        return {}
    data = SmallTasks.model_validate(written)
    told = {}
    for prompt in Small(data).evaluation_prompts(data.operations, Evaluation(prompts_per_class=1), results.seeds[0]):
        told[prompt.tier] = Markdown(f"{code(prompt.text)} {escape(prompt.answer)}")
    return told


def _area(value: float) -> str:
    return f"{value:.2f}"


def _reading(results: Results, areas: pd.DataFrame) -> Markdown:
    first, depths = areas.iloc[0], (areas["from_depth"].iloc[0], areas["to_depth"].iloc[0])
    chance = 100 * results.plain[0].chance
    return escape(
        "Area: that under (choice accuracy - chance) / (1 - chance) from relative depth "
        f"{depths[0]:.2f} to {depths[1]:.2f}, mean over models and seeds, with the lowest and the highest model; 1 is "
        "always right at every depth, 0 chance, below 0 more often wrong than right. "
        f"Then the mean choice accuracy in % at the trained block, by the relative depth that was asked for (chance is "
        f"{chance:.0f}); {results.terms.group}s are held out, and templates new to every training. Then right answers "
        "before the class loss, in all templates. The first wording of each task is the one that class labels were "
        f"given on, w = {number_text(first['weight'])}."
    )


def _sources(results: Results, decided: Decided) -> Question:
    asks = "Is it what is asked, or the architecture?"
    if decided.variance.empty:
        return Question(asks, NOT_RUN, Markdown("fewer than three architectures have all seeds and wordings"))
    told = []
    for pair, rows in decided.variance.groupby("pair", sort=False):
        shares = rows[rows["share"] >= 0.005].sort_values("share", ascending=False, kind="stable")
        parts = ", ".join(f"{one['component']} {_percent(one)}" for one in shares.to_dict("records"))
        told.append(f"{pair}: {parts}")
    counted = decided.variance.drop_duplicates("pair").to_dict("records")
    of_pairs = ", ".join(f"{one['architectures']} of {one['pair']}" for one in counted)
    seeds = max(one["seeds"] for one in counted)
    sure = (
        f"shares of the variance of areas; {100 * results.decisions.confidence:g} % intervals over the architectures "
        f"that learned the task at every seed ({of_pairs}), with {seeds} seed{'s' if seeds > 1 else ''}, for the "
        "wordings at hand"
    )
    return Question(asks, escape("; ".join(told)), escape(sure))


def _cost(results: Results, decided: Decided) -> Question:
    asks = "Does it cost answers?"
    every = _overall(results, decided, "cost against w = 0")
    rows = every[every["verdict"] != FLOOR]
    if rows.empty:
        return Question(
            asks,
            NOT_RUN,
            Markdown("no wording is answered right often enough with w = 0 to show a loss")
            if len(every)
            else Markdown("no cell that learned its class has a finished one with w = 0 beside it"),
        )
    margin = 100 * results.decisions.non_inferiority_margin
    counts: Mapping[Any, int] = rows["verdict"].value_counts().to_dict()
    sure = (
        f"of {len(rows)} models and wordings {counts.get('preserved', 0)} kept within the margin of {margin:g} points, "
        f"{counts.get('hurt', 0)} hurt, {counts.get('undecided', 0)} undecided"
    )
    if at_floor := len(every) - len(rows):
        sure += f"; {at_floor} more are too seldom right with w = 0 to show a loss, and count in the means alone"
    by_tier = 100 * every.groupby("tier", sort=False)["difference"].mean()
    means = [f"{tier} {value:+.1f}" for tier, value in by_tier.sort_values().iloc[[0, -1]].items()]
    answer = (
        "Right answers, with the class loss minus the same steps without, in points: mean over wordings "
        f"{by_tier.mean():+.1f}; the most and the least: {', '.join(means)}"
    )
    return Question(asks, escape(answer), escape(sure))


def _designs(results: Results, decided: Decided) -> Question:
    """Whether architectures of one design read more than others."""
    asks = "Which part of an architecture?"
    found = decided.factors
    told = found[(found["tier"] == ALL_TIERS) & found["p_holm"].notna()] if len(found) else found
    if told.empty:
        return Question(asks, NOT_RUN, Markdown("fewer than three architectures on a side of every contrast"))
    ordered = told.sort_values("p", kind="stable").to_dict("records")
    parts = [_contrast(row) for row in ordered]
    shown = [row for row in ordered if row["p_holm"] <= 1 - results.decisions.confidence]
    verdict = (
        f"shown for {listed([CONTRASTS[row['contrast']].words for row in shown])}"
        if shown
        else "none of these differences is shown"
    )
    single = found[(found["tier"] != ALL_TIERS) & (found["p_holm"] <= 1 - results.decisions.confidence)]
    of_tiers = [
        _contrast(row, f" on {row['tier']}") for row in single.sort_values("p", kind="stable").to_dict("records")
    ]
    parts.append(f"of single wordings, corrected for all, {'; '.join(of_tiers) or 'none is shown'}")
    sure = (
        f"{verdict}; differences of mean areas over all wordings, Welch's intervals over architectures, p corrected "
        f"for {len(told)} contrasts (Holm); designs are not drawn independently, so that none is a cause by itself"
    )
    return Question(
        asks,
        escape(f"Area, in architectures with the first minus those with the second: {'; '.join(parts)}"),
        escape(sure),
    )


def _contrast(row: Mapping[Any, Any], where: str = "") -> str:
    return f"{CONTRASTS[row['contrast']].words}{where}: {signed_probability(interval_of(row, 'difference'))}"


def _another_model(decided: Decided) -> Question:
    """How well choice accuracy is foretold in architectures that were left out."""
    asks = "What may be expected of another model?"
    if decided.forecast.empty:
        return Question(asks, NOT_RUN, Markdown("too few architectures with predictors"))
    told, sure = [], []
    for row in decided.forecast.to_dict("records"):
        arm, (name,) = str(row["arm"]), FEATURES[str(row["arm"])]
        ranked = f"{row['rank']:.2f} (depth alone {row['baseline_rank']:.2f})"
        missed = f"{100 * row['error']:.0f} points ({100 * row['baseline_error']:.0f})"
        told.append(
            f"with {adapters_of(arm)} {PREDICTORS[name].words} foretells the order of layers and wordings with a rank "
            f"correlation of {ranked}, and choice accuracy with a mean error of {missed}"
        )
        sure.append(f"{row['architectures']} architectures, {row['places']} places")
    answer = f"Measured before any class is trained: {'; '.join(told)}"
    held = f"each architecture foretold from the others ({'; '.join(sure)}); of other models: study predict MODEL"
    return Question(asks, escape(answer), escape(held))


def _manipulated(results: Results, decided: Decided) -> Iterator[Question]:
    """What each manipulation changes in choice accuracy, over architectures."""
    found = decided.manipulations
    for arm in arms_that_are("manipulation"):
        rows = {row["tier"]: row for row in found[found["arm"] == arm].to_dict("records")} if len(found) else {}
        together = rows.pop(ALL_TIERS, None)
        if together is None or np.isnan(together["difference"]):
            continue
        known = [row for row in rows.values() if not np.isnan(row["difference"])]
        most, least = (f(known, key=lambda row: row["difference"]) for f in (max, min))
        ends = ", ".join(f"{row['tier']} {signed_points(interval_of(row, 'difference'))}" for row in (most, least))
        answer = (
            f"{_verdict(results, together)}. Choice accuracy with {words_of(arm)} minus plain, in points: all wordings "
            f"{signed_points(interval_of(together, 'difference'))}; the most and the least: {ends}"
        )
        depths = "one depth" if together["depths"] == 1 else f"{together['depths']} depths"
        few, many = (f(row["architectures"] for row in (together, most, least)) for f in (min, max))
        counted = f"{few} to {many}" if few < many else f"{many}"
        sure = (
            f"{100 * results.decisions.confidence:g} % intervals over {counted} architectures, at "
            f"{depths}, of the {together['fitted']} of {together['pairs']} pairs of cells that both fitted; all "
            f"wordings: p = {_p(together['p_holm'])}, corrected for the manipulations (Holm)"
        )
        yield Question(f"Does it matter {ARMS[arm].asks}?", escape(answer), escape(sure))


def _verdict(results: Results, row: Mapping[Any, Any]) -> str:
    margin = results.decisions.non_inferiority_margin
    if row["p_holm"] <= 1 - results.decisions.confidence:
        return "Yes, more is read" if row["difference"] > 0 else "Yes, less is read"
    within = -margin < row["difference_low"] and row["difference_high"] < margin
    return f"No, not by {100 * margin:g} points" if within else "Undecided"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"


def _overall(results: Results, decided: Decided, contrast: str) -> pd.DataFrame:
    """The rows of a contrast over all depths, of models that learned a task, at the weight that most cells have."""
    rows = overall(decided.effects, contrast)
    known = learned(decided.areas)
    pairs = set(zip(known["model"], known["pair"], strict=True))
    own = rows[rows["weight"] == results.shown_weight]
    return own.loc[np.array([place in pairs for place in zip(own["model"], own["pair"], strict=True)], bool)]
