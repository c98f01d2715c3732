"""The published experiment beside this study's: what each recipe tells, and which choice makes which conclusion."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.units import StudyUnit
from analysis.outcomes.effects import FLOOR
from analysis.statistics.effects import effect
from analysis.statistics.equivalence import Verdict, not_inferior
from analysis.statistics.intervals import Floats, Interval, bounds, level
from study.config.evaluation import Decisions
from study.config.recipes import AS_PUBLISHED, CORRECTED, Choice, choices_of, training_of

STAGES = ("baseline", "stage1", "stage2")
TIERS = ("symbolic", "semantic")
PRESERVED, HURT, UNDECIDED = "preserved", "hurt", "undecided"
LAST_STEPS = 20
"""Of a training, those that its class loss is told of."""
EXPERIMENT = ["model", "pair", "layer", "weight", "stage2"]
TOLD = [
    *(*EXPERIMENT, "recipe", "stage", "seeds"),
    *(f"{name}{end}" for name in (*TIERS, "classifier") for end in ("", "_low", "_high")),
    "prompts",
]
MEASURED = [
    *(*EXPERIMENT, "recipe", "seed", "seeds", "compared", "class_loss"),
    *(f"{name}{end}" for name in ("p", "choice", "answers") for end in ("", "_low", "_high")),
    *("lowest_seed", "highest_seed", "emerges", "absent", "verdict"),
]


@dataclass(frozen=True)
class Experiment:
    """What cells share that differ in recipe and seed alone."""

    model: str
    pair: str
    layer: int
    weight: float
    stage2: str
    """`200 steps at 0.0001`."""


def experiments(results: Results) -> dict[Experiment, list[StudyUnit]]:
    """The finished cells with a class loss and without an arm; none where the study has the corrected recipe alone."""
    groups: dict[Experiment, list[StudyUnit]] = {}
    for cell in results.everything.values() if recipes_of(results) != [CORRECTED] else ():
        if cell.layer is not None and cell.arm == "plain" and cell.finished and results.reference_of(cell):
            key = Experiment(cell.model, cell.pair, cell.layer, cell.weight or 0.0, cell.stage2)
            groups.setdefault(key, []).append(cell)
    return groups


def recipes_of(results: Results) -> list[str]:
    """Those that the study asks for, the two named ones first."""
    parts = [results.config.get("grid", {}), *results.config.get("also", [])]
    asked = dict.fromkeys(recipe for part in parts for recipe in part.get("recipes") or [])
    named = [name for name in (CORRECTED, AS_PUBLISHED) if name in asked]
    return [*named, *(name for name in asked if name not in named)] or [CORRECTED]


def told(results: Results) -> pd.DataFrame:
    """As each recipe tells it: a row an experiment, recipe and stage, with accuracies and the classifier's score, over
    the seeds that are compared."""
    rows = []
    for experiment, cells in experiments(results).items():
        by_recipe = _by_recipe(cells)
        for recipe in recipes_of(results):
            choices = choices_of(recipe)
            chosen = next((own for own in by_recipe.values() if list(own[0].choices) == training_of(choices)), [])
            for stage in STAGES if chosen else ():
                figures = _told(results, chosen, choices, stage)
                rows.append({**vars(experiment), "recipe": recipe, "stage": stage, "seeds": len(chosen), **figures})
    return pd.DataFrame(rows, columns=TOLD)


def measured(results: Results) -> pd.DataFrame:
    """What each training does, all measured in one way: a row an experiment, recipe of training and seed, and one for
    the seeds that are `compared` together (`seed` is NaN), with the range of their p.

    On the trained wording and held-out operands: p and choice accuracy at the trained layer, by the model's own head,
    on templates that no training saw where there are some; and the answers' accuracy minus that after stage 1, on all
    templates, where a number counts without the stop behind it. `emerges` and `absent` say that the intervals of p and
    choice accuracy lie on one side of their bounds; neither, that it is undecided.
    """
    rows = []
    for experiment, cells in experiments(results).items():
        by_recipe = _by_recipe(cells)
        for recipe in dict.fromkeys(cell.recipe for cell in cells):
            same = by_recipe.get(recipe, [])
            single = [(float(cell.seed), [cell]) for cell in cells if cell.recipe == recipe]
            for seed, own in [*single, *([(math.nan, same)] if same else [])]:
                about = {**vars(experiment), "recipe": recipe, "seed": seed, "seeds": len(own)}
                about["compared"] = all(cell in same for cell in own)
                rows.append(about | _measured(results, own))
    return pd.DataFrame(rows, columns=MEASURED)


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `measured` by which recipes are compared: those of the seeds together."""
    return rows[rows["seed"].isna()]


def _by_recipe(cells: Sequence[StudyUnit]) -> dict[str, list[StudyUnit]]:
    """The cells of one experiment at the seeds that are compared, by recipe of training.

    These are the seeds that all recipes have which have the seed that most have: a mean of three seeds never stands
    beside a figure of one. A recipe without that seed is not compared.
    """
    seeds: dict[str, set[int]] = {}
    for cell in cells:
        seeds.setdefault(cell.recipe, set()).add(cell.seed)
    counts = Counter(cell.seed for cell in cells)
    most = min(seed for seed, count in counts.items() if count == max(counts.values()))
    common = set.intersection(*(own for own in seeds.values() if most in own))
    return {
        recipe: [cell for cell in cells if cell.recipe == recipe and cell.seed in common]
        for recipe, own in seeds.items()
        if most in own
    }


def _measured(results: Results, cells: Sequence[StudyUnit]) -> dict[str, Any]:
    decisions = results.decisions
    samples = results.readouts[TIERS[0]]
    rows = samples.rows(cell.trained for cell in cells)
    tables = {name: samples.figures(name, rows, samples.shown(rows)[0]).T for name in ("p", "choice")}
    after, before = (_right(results, cells, stage, TIERS[0]) for stage in ("stage2", "stage1"))
    kept = after - before
    p, choice = (_share(tables[name], decisions) for name in ("p", "choice"))
    losses = [results.rows["curves"].values_of(cell.id, "class_loss")[-LAST_STEPS:].mean() for cell in cells]
    return {
        "class_loss": float(np.mean(losses)),
        **(bounds("p", p) | bounds("choice", choice) | bounds("answers", effect(kept, decisions.confidence))),
        "lowest_seed": np.nanmean(tables["p"], axis=0).min(),
        "highest_seed": np.nanmean(tables["p"], axis=0).max(),
        "emerges": p.low >= decisions.probability and choice.low >= decisions.choice_accuracy,
        "absent": p.high < decisions.probability or choice.high < decisions.choice_accuracy,
        "verdict": _kept(float(np.nanmean(before, axis=0).mean()), kept, decisions),
    }


def _share(table: Floats, decisions: Decisions) -> Interval:
    """The mean of shares [samples, seeds]: of one seed over samples, of several over both."""
    if table.shape[1] == 1:
        return level(table[:, 0], decisions.confidence)
    found = effect(table - 0.5, decisions.confidence)
    return Interval(*(min(max(part + 0.5, 0.0), 1.0) for part in found))


def _kept(before: float, differences: Floats, decisions: Decisions) -> str:
    """What a training did to the answers: `preserved`, `hurt`, `undecided`, or that too few were right before."""
    if before < decisions.floor:
        return FLOOR
    margin, alpha = decisions.non_inferiority_margin, (1 - decisions.confidence) / 2
    if not_inferior(partial(effect, differences), margin, alpha) == Verdict.SHOWN:
        return PRESERVED
    return HURT if effect(differences, decisions.confidence).high < 0 else UNDECIDED


def _right(results: Results, cells: Sequence[StudyUnit], stage: str, tier: str) -> Floats:
    """Whether the number is right at a stage of cells, [samples, cells]."""
    samples = results.answered[tier]
    rows = samples.rows((_source(results, cell, stage).id, stage) for cell in cells)
    return samples.figures("number_right", rows, samples.of(rows)).T


def _told(results: Results, cells: Sequence[StudyUnit], choices: Sequence[Choice], stage: str) -> dict[str, Any]:
    """Both accuracies and the score of one stage, read as a recipe has it; several seeds together."""
    few = "eight_prompts" in choices
    figures: dict[str, Any] = {}
    if few:
        decoded = pd.concat([results.rows["eight"][_source(results, cell, stage).id] for cell in cells])
        decoded = decoded[decoded["stage"] == stage]
        figures["prompts"] = decoded["prompt_id"].nunique()
        by_prompt = decoded.groupby(["tier", "prompt_id"], observed=True)["right"].mean()
        tables = {tier: by_prompt.loc[tier].to_numpy(float)[:, None] for tier in TIERS}
    else:
        first = [(_source(results, cells[0], stage).id, stage)]
        at_tier = [results.answered[tier] for tier in TIERS]
        figures["prompts"] = int(sum(samples.prompts[samples.rows(first)].sum() for samples in at_tier))
        tables = {tier: _right(results, cells, stage, tier) for tier in TIERS}
    for tier, table in tables.items():
        figures |= bounds(tier, _share(table, results.decisions))
    scores = pd.concat([_scores(results, cell, choices, stage) for cell in cells])
    return figures | bounds("classifier", _score(scores, results))


def _scores(results: Results, cell: StudyUnit, choices: Sequence[Choice], stage: str) -> pd.DataFrame:
    """The rows of the score that a recipe reads; the masked ones where blocks take no mask."""
    unit = _source(results, cell, stage).id
    if ("score", unit) not in results.known:
        results.known["score", unit] = results.rows["score"][unit]
    rows: pd.DataFrame = results.known["score", unit]
    rows = rows[(rows["stage"] == stage) & (rows["pair"] == cell.readout)]
    rows = rows[rows["asked"] == ("eight" if "eight_prompts" in choices else "held-out")]
    rows = rows[rows["head"] == ("input embedding" if "input_embedding_lens" in choices else "model")]
    if "maximum_score" in choices:
        rows = rows[(rows["score"] == "maximum") & (rows["p"] > 0)]
    else:
        rows = rows[(rows["score"] == "layer") & (rows["layer"] == cell.layer)]
    unmasked = rows[~rows["masked"].astype(bool)]
    return unmasked if "unmasked_lens" in choices and len(unmasked) else rows[rows["masked"].astype(bool)]


def _score(rows: pd.DataFrame, results: Results) -> Interval:
    """The mean p of the rows, over groups of operands; zero where no prompt has a token that counts."""
    if rows.empty:
        return Interval(0.0, 0.0, 0.0)
    by_group = rows.groupby("operands", observed=True)["p"].mean()
    return level(by_group.to_numpy(float), results.decisions.confidence)


def _source(results: Results, cell: StudyUnit, stage: str) -> StudyUnit:
    """The unit whose rows hold a stage of a cell."""
    reference = results.reference_of(cell)
    return cell if stage == "stage2" or reference is None else reference
