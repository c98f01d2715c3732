"""The published experiment beside this study's: what each recipe tells, and which choice makes which conclusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.results import Results, StudyUnit
from analysis.data.statistics import Interval, accuracy_of, bounds, clustered_mean, wilson
from analysis.outcomes.preservation import paired_difference, verdict
from study.config.recipes import AS_PUBLISHED, CORRECTED, Choice, choices_of, training_of

STAGES = ("baseline", "stage1", "stage2")
TIERS = ("symbolic", "semantic")
LAST_STEPS = 20
"""Of a training, those that its class loss is told of."""
EXPERIMENT = ["model", "pair", "layer", "weight", "stage2"]
TOLD = [
    *(*EXPERIMENT, "recipe", "stage", "seeds"),
    *(f"{name}{end}" for name in (*TIERS, "classifier") for end in ("", "_low", "_high")),
    "prompts",
]
MEASURED = [
    *(*EXPERIMENT, "recipe", "seeds", "class_loss"),
    *(f"{name}{end}" for name in ("p", "choice", "answers") for end in ("", "_low", "_high")),
    *("emerges", "verdict"),
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
    """As each recipe tells it: a row an experiment, recipe and stage, with accuracies and the classifier's score."""
    rows = []
    for experiment, cells in experiments(results).items():
        for recipe in recipes_of(results):
            choices = choices_of(recipe)
            chosen = [cell for cell in cells if list(cell.choices) == training_of(choices)]
            for stage in STAGES if chosen else ():
                figures = _told(results, chosen, choices, stage)
                rows.append({**vars(experiment), "recipe": recipe, "stage": stage, "seeds": len(chosen), **figures})
    return pd.DataFrame(rows, columns=TOLD)


def measured(results: Results) -> pd.DataFrame:
    """What each training does, all measured in one way: a row an experiment and recipe of training.

    On the trained wording and held-out operands: p and choice accuracy at the trained layer, by the model's own head;
    and the answers' accuracy minus that after stage 1, where a number counts without the stop behind it.
    """
    rows, decisions = [], results.decisions
    for experiment, cells in experiments(results).items():
        for recipe in dict.fromkeys(cell.recipe for cell in cells):
            chosen = [cell for cell in cells if cell.recipe == recipe]
            lens = pd.concat([results.lens_at(cell, "stage2", cell.readout, cell.layer) for cell in chosen])
            lens = lens[lens["tier"] == TIERS[0]]
            clusters = lens["operands"].to_numpy(str)
            p = clustered_mean(
                np.exp(lens["log_p"].to_numpy(float)), clusters, decisions.confidence, decisions.resamples
            )
            choice = accuracy_of(lens, "choice", decisions.confidence)
            before, after = (_answers(results, chosen, stage) for stage in STAGES[1:])
            kept = paired_difference(after, before, "number_right", TIERS[0], decisions)
            level = float(before.loc[before["tier"] == TIERS[0], "number_right"].mean())
            losses = [results.rows["curves"][cell.id]["class_loss"].iloc[-LAST_STEPS:].mean() for cell in chosen]
            rows.append(
                {
                    **vars(experiment),
                    **{"recipe": recipe, "seeds": len(chosen), "class_loss": float(np.mean(losses))},
                    **(bounds("p", p) | bounds("choice", choice) | bounds("answers", kept)),
                    "emerges": p.low >= decisions.probability and choice.low >= decisions.choice_accuracy,
                    "verdict": verdict(level, kept, decisions).value if kept else "",
                }
            )
    return pd.DataFrame(rows, columns=MEASURED)


def _told(results: Results, cells: Sequence[StudyUnit], choices: Sequence[Choice], stage: str) -> dict[str, Any]:
    """Both accuracies and the score of one stage, read as a recipe has it; several seeds together."""
    few = "eight_prompts" in choices
    if few:
        decoded = pd.concat([results.rows["eight"][_source(results, cell, stage).id] for cell in cells])
        answers = decoded[decoded["stage"] == stage].rename(columns={"right": "number_right"})
    else:
        answers = _answers(results, cells, stage)
    figures: dict[str, Any] = {"prompts": int(answers["tier"].isin(TIERS).sum() / len(cells))}
    for tier in TIERS:
        figures |= bounds(tier, _accuracy(answers[answers["tier"] == tier], few, results.decisions.confidence))
    scores = pd.concat([_scores(results, cell, choices, stage) for cell in cells])
    return figures | bounds("classifier", _score(scores, results))


def _scores(results: Results, cell: StudyUnit, choices: Sequence[Choice], stage: str) -> pd.DataFrame:
    """The rows of the score that a recipe reads; the masked ones where blocks take no mask."""
    rows = results.rows["score"][_source(results, cell, stage).id]
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
    """The mean p of the rows; zero where no prompt has a token that counts."""
    if rows.empty:
        return Interval(0.0, 0.0, 0.0)
    decisions = results.decisions
    return clustered_mean(
        rows["p"].to_numpy(float), rows["operands"].to_numpy(str), decisions.confidence, decisions.resamples
    )


def _accuracy(answers: pd.DataFrame, few: bool, confidence: float) -> Interval:
    """Of the eight prompts Wilson's interval on their own number, however many seeds asked them."""
    if few:
        return wilson(float(answers["number_right"].mean()), answers["prompt_id"].nunique(), confidence)
    return accuracy_of(answers, "number_right", confidence)


def _answers(results: Results, cells: Sequence[StudyUnit], stage: str) -> pd.DataFrame:
    """Answer rows of a stage, indexed by seed and prompt."""
    frames = {cell.seed: results.answers_at(_source(results, cell, stage), stage) for cell in cells}
    return pd.concat(frames)


def _source(results: Results, cell: StudyUnit, stage: str) -> StudyUnit:
    """The unit whose rows hold a stage of a cell."""
    reference = results.reference_of(cell)
    return cell if stage == "stage2" or reference is None else reference
