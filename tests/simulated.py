"""Result folders of simulated studies whose truth is known, as a run of the grid would leave them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.config import TIERS as STUDY_TIERS

TIERS: tuple[str, ...] = STUDY_TIERS
TEMPLATES = {"symbolic": 2, "semantic": 4, "construction": 8, "story": 8}
UNTRAINED_MASS = 1e-5


@dataclass(frozen=True)
class Point:
    """A cell with a class loss, on one tier."""

    model: str
    layer: int
    depth: float
    pair: str
    weight: float
    tier: str


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


@dataclass(frozen=True)
class Plan:
    """A study to simulate; unfinished units are given by label."""

    models: Mapping[str, int] = field(default_factory=lambda: {"alpha": 12})
    """Blocks of each model."""
    depths: tuple[float, ...] = (0.25, 0.5, 1.0)
    pairs: tuple[str, ...] = ("multiply/add", "river/copper")
    weights: tuple[float, ...] = (0.0, 0.2, 0.5)
    seeds: tuple[int, ...] = (0,)
    truth: Callable[[Point], Truth] = lambda _: Truth()
    stage1_accuracy: float = 0.6
    per_class: int = 48
    unfinished: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Label -> ("failed" | "skipped" | "missing", reason)."""


def write_study(folder: Path, plan: Plan) -> Path:
    """Write results/<study> for the plan; the same plan gives the same bytes."""
    units = [unit for model in plan.models for seed in plan.seeds for unit in _units(plan, model, seed)]
    config = {
        "name": folder.name,
        "seeds": list(plan.seeds),
        "models": list(plan.models),
        "grid": {
            "layers": list(plan.depths),
            "pairs": [_pair(pair) for pair in plan.pairs],
            "weights": list(plan.weights),
        },
        "stage2": {"steps": 60, "wordings": ["symbolic"]},
        "decisions": {"resamples": 500},
    }
    models = {name: {"source": {"hub": f"org/{name}"}, "blocks": blocks} for name, blocks in plan.models.items()}
    _write_json(folder / "study.json", {"name": folder.name, "config": config, "models": models, "units": units})
    for unit in units:
        status, reason = plan.unfinished.get(unit["label"], ("finished", ""))
        if status == "finished":
            _write_unit(folder, plan, unit)
        elif status != "missing":
            about = {key: unit[key] for key in ("label", "kind", "id")}
            record = {"status": status, "reason": reason, "detail": "", **about}
            _write_json(folder / "unfinished" / f"{unit['folder']}.json", record)
    return folder


def _units(plan: Plan, model: str, seed: int) -> list[dict[str, Any]]:
    def unit(kind: str, label: str, **settings: Any) -> dict[str, Any]:
        key = hashlib.sha256(label.encode()).hexdigest()[:8]
        common = {"kind": kind, "id": key, "folder": f"{label.replace('|', '_')}_{key}", "label": label, "model": model}
        empty = {"layer": None, "pair": None, "weight": None, "reference": None, "operations": ["multiply", "add"]}
        return {**common, "blocks": plan.models[model], "seed": seed, **empty, **settings}

    stage1 = unit("stage1", f"{model}|stage1|s{seed}")
    reference = unit("reference", f"{model}|reference|s{seed}")
    cells = []
    if 0 in plan.weights:
        cells.append(unit("cell", f"{model}|multiply-add|w=0|s{seed}", weight=0.0, reference=reference["id"]))
    for pair in plan.pairs:
        for depth in plan.depths:
            layer = round(depth * plan.models[model]) - 1
            for weight in filter(None, plan.weights):
                label = f"{model}|L{layer}|{pair.replace('/', '-')}|w={weight:g}|s{seed}"
                where = {"layer": layer, "pair": _pair(pair), "weight": weight, "reference": reference["id"]}
                cells.append(unit("cell", label, **where))
    return [{**each, "stage1": stage1["id"]} for each in (stage1, reference, *cells)]


def _write_unit(root: Path, plan: Plan, unit: dict[str, Any]) -> None:
    folder = root / {"stage1": "stage1", "reference": "reference", "cell": "cells"}[unit["kind"]] / unit["folder"]
    folder.mkdir(parents=True)
    _write_json(folder / "unit.json", unit)
    rng = np.random.default_rng(int(unit["id"], 16))
    prompts = _prompts(plan)
    points = {
        tier: Point(
            unit["model"], unit["layer"], (unit["layer"] + 1) / unit["blocks"], _name(unit), unit["weight"], tier
        )
        for tier in TIERS
        if unit["pair"]
    }
    truths = {tier: plan.truth(point) for tier, point in points.items()}
    if unit["kind"] == "reference":
        stages = {"baseline": plan.stage1_accuracy / 3, "stage1": plan.stage1_accuracy}
        answers = [_answers(prompts, stage, dict.fromkeys(TIERS, level), rng) for stage, level in stages.items()]
        lens = [_lens(prompts, stage, unit, pair, {}, rng) for stage in stages for pair in plan.pairs]
    elif unit["kind"] == "cell":
        levels = {
            tier: plan.stage1_accuracy - truths[tier].accuracy_lost if truths else plan.stage1_accuracy
            for tier in TIERS
        }
        answers = [_answers(prompts, "stage2", levels, rng)]
        pairs = [_name(unit)] if unit["pair"] else plan.pairs
        lens = [_lens(prompts, "stage2", unit, pair, truths, rng) for pair in pairs]
    if unit["kind"] != "stage1":
        pd.concat(answers).to_parquet(folder / "answers.parquet", index=False)
        pd.concat(lens).to_parquet(folder / "lens.parquet", index=False)
    if unit["kind"] != "reference":
        _curves(truths["symbolic"].class_loss if truths else None).to_parquet(folder / "curves.parquet", index=False)
    _write_json(folder / "done.json", _done(plan, unit))


def _prompts(plan: Plan) -> pd.DataFrame:
    """Held-out prompts; both operations get the same operands in the same templates."""
    rows: list[tuple[object, ...]] = []
    for tier in TIERS:
        for operation in ("multiply", "add"):
            for i in range(plan.per_class):
                a, b = 2 + i % 12, 3 + (i * 5) % 11
                text = f"{tier} {operation} {a} {b}"
                number = i % TEMPLATES[tier]
                operands = f"{min(a, b)},{max(a, b)}"
                rows.append(
                    (len(rows), tier, f"{tier}-{operation}-{number}", operation, a, b, operands, text, str(a * b))
                )
    columns = ["prompt_id", "tier", "template", "operation", "a", "b", "operands", "prompt", "answer"]
    return pd.DataFrame(rows, columns=columns)


def _answers(prompts: pd.DataFrame, stage: str, level: Mapping[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Prompts have a fixed difficulty, the same at all stages, so that differences are paired."""
    difficulty = np.random.default_rng(7).uniform(size=len(prompts))
    right = difficulty < prompts["tier"].map(level)
    nll = np.where(right, 0.4, 3.0) + rng.uniform(0, 0.2, len(prompts))
    return prompts.assign(stage=stage, right=right, number_right=right, nll=nll, tokens=2)


def _lens(
    prompts: pd.DataFrame,
    stage: str,
    unit: Mapping[str, Any],
    pair: str,
    truths: Mapping[str, Truth],
    rng: np.random.Generator,
) -> pd.DataFrame:
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
        frame = prompts[["prompt_id", "tier", "template", "operation", "operands"]].assign(
            stage=stage,
            pair=pair,
            layer=layer,
            log_p=log_mass + np.log(np.where(choice, 0.95, 0.05)),
            rank=np.where(choice & (near > 0.9), 0, 500),
            margin=np.where(choice, 1, -1) * np.log(19.0),
            log_mass=log_mass,
            choice=choice,
        )
        frames.append(frame)
    return pd.concat(frames)


def _curves(class_loss: float | None, steps: int = 60) -> pd.DataFrame:
    step = np.arange(1, steps + 1)
    fall = np.exp(-step / 8)
    answer = 1.0 + 2 * fall
    loss = np.full(steps, np.nan) if class_loss is None else class_loss + (10 - class_loss) * fall
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


def _done(plan: Plan, unit: Mapping[str, Any]) -> dict[str, Any]:
    gate = {"gate": "last-layer lens equals the logits", "figure": 1.2e-6, "limit": 1e-3, "passed": True}
    pairs = [_name(unit)] if unit["pair"] else plan.pairs if unit["kind"] != "stage1" else ()
    return {
        **{key: unit[key] for key in ("kind", "id", "label")},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
        "seconds": {"load": 1.0, "train": 40.0, "evaluate": 19.0},
        "versions": {"python": "3.11.9", "mlx": "0.32.4", "mlx_lm": "0.32.2", "study": "0.1.0"},
        "machine": "Linux x86_64, cpu",
        "peak_memory_gb": 1.5,
        "gates": [gate],
        "tokens": {pair: {name: _token(word) for name, word in _pair(pair).items()} for pair in pairs},
    }


def _token(word: str) -> dict[str, Any]:
    return {"text": f" {word}", "id": 100 + len(word), "leading_space": True}


def _pair(pair: str) -> dict[str, str]:
    return dict(zip(("multiply", "add"), pair.split("/"), strict=True))


def _name(unit: Mapping[str, Any]) -> str:
    return "/".join(unit["pair"].values()) if unit["pair"] else ""


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
