"""The rows of simulated units, in the columns that the study writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from study.config.names import TIERS as STUDY_TIERS
from study.config.wordings import templates

TIERS: tuple[str, ...] = STUDY_TIERS
OPERATIONS = ("multiply", "add")
UNTRAINED_MASS = 1e-5
STEPS = 60
FLOOR = 0.02
"""Probability of the source's answer where nothing is exchanged."""
TRAINED = ("symbolic", "semantic")
ABOUT = ["prompt_id", "tier", "template", "operation", "operands", "seen"]


@dataclass(frozen=True)
class Truth:
    """What is planted at the trained layer."""

    choice: float = 1.0
    """Chance that the right class token outranks the others."""
    unseen: float | None = None
    """The same in templates that no training saw, where it is another."""
    mass: float = 0.99
    """Summed probability of the class tokens; the right one has 95 % of it where it outranks the others."""
    class_loss: float = 0.05
    """What the class loss falls to in training, from 10 nats."""
    accuracy_lost: float = 0.0
    """Drop of the answer accuracy from stage 1."""
    onset: int = 20
    """The first evaluated step in training at which `choice` and `mass` hold; before it there is chance."""
    used: float = 0.0
    """Share of what the exchange of the whole state does that the class direction does."""
    ceiling: float = 0.9
    """Probability of the source's answer when the whole state is exchanged."""


def prompts(per_class: int, wordings: Sequence[str] = ()) -> pd.DataFrame:
    """Held-out prompts, in held-out templates and others in turn; both operations get the same operands in the same
    templates. Trainings saw the others of `wordings`."""
    rows: list[tuple[object, ...]] = []
    for tier in TIERS:
        both = [[one for one in templates(tier) if one.held_out == side] for side in (True, False)]
        in_turn = [one for pair in zip_longest(*both) for one in pair if one]
        for operation in OPERATIONS:
            for i in range(per_class):
                a, b = 2 + i % 12, 3 + (i * 5) % 11
                template = in_turn[i % len(in_turn)]
                seen = "stage1+stage2" if tier in wordings and not template.held_out else "nobody"
                operands, text = f"{min(a, b)},{max(a, b)}", f"{tier} {operation} {a} {b}"
                about = (len(rows), tier, template.name, operation, a, b, operands, seen, text, str(a * b))
                rows.append(about)
    columns = ["prompt_id", "tier", "template", "operation", "a", "b", "operands", "seen", "prompt", "answer"]
    return pd.DataFrame(rows, columns=columns)


def answers(prompts: pd.DataFrame, stage: str, level: Mapping[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Prompts have a fixed difficulty, the same at all stages, so that differences are paired."""
    difficulty = np.random.default_rng(7).uniform(size=len(prompts))
    right = difficulty < prompts["tier"].map(level)
    nll = np.where(right, 0.4, 3.0) + rng.uniform(0, 0.2, len(prompts))
    return prompts.assign(stage=stage, right=right, number_right=right, nll=nll, tokens=2)


def lens(
    prompts: pd.DataFrame,
    stage: str,
    unit: Mapping[str, Any],
    readout: str,
    truths: Mapping[str, Truth],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Every prompt at every layer; of a cell with a class loss a quarter of them, the others where it is trained and
    at the last layer."""
    frames = []
    right = rng.uniform(size=len(prompts))
    for layer in range(unit["blocks"]):
        near = np.exp(-(((layer - unit["layer"]) / (0.12 * unit["blocks"])) ** 2)) if truths else 0.0
        top = prompts["tier"].map({tier: truth.mass for tier, truth in truths.items()} or dict.fromkeys(TIERS, 1.0))
        accuracy = prompts["tier"].map(
            {tier: truth.choice for tier, truth in truths.items()} or dict.fromkeys(TIERS, 0.5)
        )
        for tier, truth in truths.items():
            if truth.unseen is not None:
                accuracy[(prompts["tier"] == tier) & (prompts["seen"] == "nobody")] = truth.unseen
        log_mass = (
            np.log(UNTRAINED_MASS) + near * (np.log(top) - np.log(UNTRAINED_MASS)) + rng.normal(0, 0.02, len(prompts))
        )
        log_mass = np.minimum(log_mass, np.log(0.995))
        choice = right < 0.5 + near * (accuracy - 0.5)
        frame = prompts[ABOUT].assign(
            stage=stage,
            pair=readout,
            layer=layer,
            log_p=log_mass + np.log(np.where(choice, 0.95, 0.05)),
            rank=np.where(choice & (near > 0.9), 0, 500),
            margin=np.where(choice, 1, -1) * np.log(19.0),
            log_mass=log_mass,
            choice=choice,
        )
        everywhere = not truths or layer in (unit["layer"], unit["blocks"] - 1)
        frames.append(frame if everywhere else frame[frame["prompt_id"] % 4 == 0])
    return pd.concat(frames)


def curves(class_loss: float | None) -> pd.DataFrame:
    """A training of STEPS steps; None where there is no class loss."""
    step = np.arange(1, STEPS + 1)
    fall = np.exp(-step / 8)
    answer = 1.0 + 2 * fall
    loss = np.full(STEPS, np.nan) if class_loss is None else class_loss + (10 - class_loss) * fall
    total = answer if class_loss is None else (answer + loss) / 2
    return pd.DataFrame(
        {
            "step": step,
            "loss": total,
            "class_loss": loss,
            "answer_loss": answer,
            "grad_norm": 1.0,
            "tokens": 40,
            "seconds": 0.1,
        }
    )


def onset(layer: int, truths: Mapping[str, Truth]) -> pd.DataFrame:
    """Every tenth step of the training."""
    rows = []
    for step in range(10, STEPS + 1, 10):
        for tier, truth in truths.items():
            choice, mass = (truth.choice, truth.mass) if step >= truth.onset else (0.5, UNTRAINED_MASS)
            rows.append([step, layer, tier, 16, choice, mass * (0.05 + 0.9 * choice), (2 * choice - 1) * np.log(19)])
    return pd.DataFrame(rows, columns=["step", "layer", "tier", "prompts", "choice", "p", "margin"])


def interchange(
    prompts: pd.DataFrame, layers: Sequence[int], truths: Mapping[str, Truth], rng: np.random.Generator
) -> pd.DataFrame:
    """The exchange of states on eight prompts of each operation in the tiers that were trained on."""
    some = prompts[prompts["tier"].isin(TRAINED)].groupby(["tier", "operation"]).head(8)
    frames = []
    for layer in layers:
        for (subspace, strength), share in _moves().items():
            truth = some["tier"].map(lambda tier: truths.get(tier, Truth()))
            used = truth.map(lambda one: one.used) if share is None else share
            p = FLOOR + used * (truth.map(lambda one: one.ceiling) - FLOOR)
            nll = -np.log(p.astype(float)) + rng.normal(0, 0.05, len(some))
            place = {"layer": layer, "subspace": subspace, "strength": strength}
            frames.append(some[ABOUT].assign(**place, source_nll=nll, source_right=p > 0.5, moved=3.0 * strength))
    return pd.concat(frames)


def _moves() -> dict[tuple[str, float], float | None]:
    """The share of the ceiling that each move makes; None for what the truth says."""
    once: dict[tuple[str, float], float | None] = {("none", 1.0): 0.0, ("full", 1.0): 1.0, ("complement", 1.0): 0.9}
    once |= {("paired_1", 1.0): 0.1, ("paired_4", 1.0): 0.3, ("random_4", 1.0): 0.0}
    for strength in (0.5, 1.0, 2.0, 4.0, 8.0):
        once |= {("class", strength): None, ("random", strength): 0.0}
    return once
