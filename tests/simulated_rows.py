"""The rows of simulated units, in the columns that the study writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from study.config.names import TIERS as STUDY_TIERS

TIERS: tuple[str, ...] = STUDY_TIERS
OPERATIONS = ("multiply", "add")
TEMPLATES = 48
"""Templates of each tier, of which every other one is held out from all training."""
ABOUT = ["prompt_id", "tier", "template", "operation", "operands", "seen"]
STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
UNTRAINED_MASS = 1e-5
STEPS = 60


@dataclass(frozen=True)
class Truth:
    """What is planted at the trained layer."""

    choice: float = 1.0
    """Chance that the right class token outranks the others."""
    mass: float = 0.99
    """Summed probability of the class tokens; the right one has 95 % of it where it outranks the others."""
    class_loss: float = 0.05
    """What the class loss falls to in training, from 10 nats."""
    accuracy_lost: float = 0.0
    """Drop of the answer accuracy from stage 1."""
    onset: int = 20
    """The first evaluated step in training at which `choice` and `mass` hold; before it there is chance."""
    used: float = 0.0
    """Share of prompts whose answer follows the source's state along the class direction."""


def prompts(per_class: int) -> pd.DataFrame:
    """Held-out prompts; both operations get the same operands in the same templates."""
    rows: list[tuple[object, ...]] = []
    for tier in TIERS:
        for operation in OPERATIONS:
            for i in range(per_class):
                a, b = 2 + i % 12, 3 + (i * 5) % 11
                text = f"{tier} {operation} {a} {b}"
                number = i % TEMPLATES
                seen = "stage1+stage2" if tier == "symbolic" and number % 2 else "nobody"
                operands = f"{min(a, b)},{max(a, b)}"
                rows.append((len(rows), tier, f"{tier}-{number}", operation, a, b, operands, seen, text, str(a * b)))
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
    """Of symbolic prompts, as they are trained on: the source's answer follows the whole state, and on a planted share
    of them the class alone; on the others, what is orthogonal to it."""
    asked = prompts[prompts["tier"] == "symbolic"]
    follows = rng.uniform(size=len(asked)) < (truths["symbolic"].used if truths else 0.0)
    gained: dict[tuple[str, float], Any] = {("none", 1.0): 0.0, ("full", 1.0): 5.0}
    gained |= {("complement", 1.0): 5.0 * ~follows, ("paired_1", 1.0): 4.0 * follows, ("paired_4", 1.0): 4.5}
    gained |= {("random_4", 1.0): 0.1}
    for strength in STRENGTHS:
        gained |= {("class", strength): 5.0 * min(strength, 1.0) * follows, ("random", strength): 0.0}
    frames = []
    for layer in layers:
        for (subspace, strength), gain in gained.items():
            nll = 6.0 - gain + rng.normal(0, 0.1, len(asked))
            about = {"layer": layer, "subspace": subspace, "strength": strength, "source_nll": nll}
            moved = 0.0 if subspace == "none" else 3.0 * strength
            frames.append(asked[ABOUT].assign(**about, source_right=nll < 2, moved=moved))
    return pd.concat(frames)
