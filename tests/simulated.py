"""Result folders of simulated studies whose truth is known, as a run of the grid would leave them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.results.finished import list_files
from study.results.schema import files_of
from tests import simulated_rows as rows
from tests.simulated_rows import OPERATIONS, TIERS, Truth

__all__ = ["TIERS", "Plan", "Point", "Truth", "list_again", "write_study"]

FOLDERS = {"stage1": "stage1", "reference": "reference", "predictors": "predictors", "cell": "cells"}
PREDICTORS = (
    *("log_p", "rank", "kl", "a_lin", "probe", "probe_control", "selectivity", "direction_cosine", "unembedding_norm"),
    *("pair_cosine", "residual_growth", "tied", "lora_parameters", "gradient_cosine", "gradient_ratio", "probe_below"),
)


@dataclass(frozen=True)
class Point:
    """A cell with a class loss, on one tier."""

    model: str
    layer: int
    depth: float
    pair: str
    weight: float
    tier: str
    arm: str = "plain"
    wordings: tuple[str, ...] = ("symbolic",)
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A study to simulate; unfinished units are given by label."""

    models: Mapping[str, int] = field(default_factory=lambda: {"alpha": 12})
    """Blocks of each model."""
    depths: tuple[float, ...] = (0.25, 0.5, 1.0)
    pairs: tuple[str, ...] = ("multiply/add", "river/copper")
    weights: tuple[float, ...] = (0.0, 0.2, 0.5)
    seeds: tuple[int, ...] = (0,)
    arms: tuple[str, ...] = ("plain",)
    wordings: tuple[tuple[str, ...], ...] = (("symbolic",),)
    truth: Callable[[Point], Truth] = lambda _: Truth()
    stage1_accuracy: float = 0.6
    per_class: int = 48
    predictors: Callable[[Point], Mapping[str, float]] | None = None
    """What is planted besides noise, at a point without weight and arm; None: no predictors are measured."""
    watched: bool = False
    """Whether training is evaluated on its way."""
    swapped: bool = False
    """Whether hidden states are exchanged to see if answers move."""
    unfinished: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Label -> ("failed" | "skipped" | "missing", reason)."""


def write_study(folder: Path, plan: Plan) -> Path:
    """Write results/<study> for the plan; the same plan gives the same bytes."""
    units = [unit for model in plan.models for seed in plan.seeds for unit in _units(plan, model, seed)]
    config = {
        "name": folder.name,
        "models": list(plan.models),
        "grid": {
            "layers": list(plan.depths),
            "pairs": [_pair(pair) for pair in plan.pairs],
            "weights": list(plan.weights),
            "seeds": list(plan.seeds),
            "arms": list(plan.arms),
            "wordings": [list(tiers) for tiers in plan.wordings],
        },
        "also": [],
        "stage2": {"steps": rows.STEPS},
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
        empty = dict.fromkeys(("layer", "pair", "readout", "arm", "wordings", "weight", "reference"))
        return {
            **common,
            "blocks": plan.models[model],
            "model_identity": {"hub": f"org/{model}"},
            "seed": seed,
            "operations": list(OPERATIONS),
            **empty,
            **settings,
        }

    stage1 = unit("stage1", f"{model}|stage1|s{seed}")
    reference = unit("reference", f"{model}|reference|s{seed}")
    measured = [unit("predictors", f"{model}|predictors|s{seed}")] if plan.predictors else []
    cells = []
    for tiers in plan.wordings:
        trained = {"wordings": list(tiers), "reference": reference["id"]}
        said = "" if tiers == ("symbolic",) else f"|{'+'.join(tiers)}"
        if 0 in plan.weights:
            cells.append(unit("cell", f"{model}|multiply-add|w=0{said}|s{seed}", weight=0.0, arm="plain", **trained))
        for pair in plan.pairs:
            for arm in plan.arms:
                for depth in plan.depths:
                    layer = round(depth * plan.models[model]) - 1
                    for weight in filter(None, plan.weights):
                        how = ("" if arm == "plain" else f"|{arm}") + said
                        label = f"{model}|L{layer}|{pair.replace('/', '-')}|w={weight:g}{how}|s{seed}"
                        where = {"layer": layer, "pair": _pair(pair), "readout": _readout(pair, arm), "arm": arm}
                        cells.append(unit("cell", label, weight=weight, **where, **trained))
    return [{**each, "stage1": stage1["id"]} for each in (stage1, reference, *measured, *cells)]


def _write_unit(root: Path, plan: Plan, unit: dict[str, Any]) -> None:
    folder = root / FOLDERS[unit["kind"]] / unit["folder"]
    folder.mkdir(parents=True)
    _write_json(folder / "unit.json", unit)
    for name, frame in _frames(plan, unit).items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    for name in set(files_of(unit["kind"])) - {file.name for file in folder.iterdir()}:
        (folder / name).touch()
    _write_json(folder / "done.json", {**_done(plan, unit), "files": list_files(folder.iterdir())})


def list_again(folder: Path) -> None:
    """Let `done.json` list a unit's files as they are now, after a test has changed them."""
    done = json.loads((folder / "done.json").read_text())
    _write_json(folder / "done.json", {**done, "files": list_files(folder.iterdir())})


def _frames(plan: Plan, unit: dict[str, Any]) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(int(unit["id"], 16))
    prompts, readouts = rows.prompts(plan.per_class, unit["wordings"] or ()), _readouts(plan)
    if unit["kind"] == "stage1":
        return {"curves": rows.curves(None)}
    if unit["kind"] == "predictors":
        return {"predictors": _predictors(plan, unit, rng)}
    if unit["kind"] == "reference":
        stages = {"baseline": plan.stage1_accuracy / 3, "stage1": plan.stage1_accuracy}
        answers = [rows.answers(prompts, stage, dict.fromkeys(TIERS, level), rng) for stage, level in stages.items()]
        lens = [rows.lens(prompts, stage, unit, pair, {}, rng) for stage in stages for pair in readouts]
        return {"answers": pd.concat(answers), "lens": pd.concat(lens)}
    truths = {tier: plan.truth(_point(unit, tier)) for tier in TIERS if unit["readout"]}
    level = {
        tier: plan.stage1_accuracy - truths[tier].accuracy_lost if truths else plan.stage1_accuracy for tier in TIERS
    }
    found = {"answers": rows.answers(prompts, "stage2", level, rng)}
    pairs = [unit["readout"]] if truths else readouts
    found["lens"] = pd.concat([rows.lens(prompts, "stage2", unit, pair, truths, rng) for pair in pairs])
    found["curves"] = rows.curves(truths["symbolic"].class_loss if truths else None)
    if truths and plan.watched:
        found["onset"] = rows.onset(unit["layer"], truths)
    if plan.swapped and (unit["arm"] == "plain"):
        layers = [unit["layer"]] if truths else [round(depth * unit["blocks"]) - 1 for depth in plan.depths]
        found["interchange"] = rows.interchange(prompts, layers, truths, rng)
    return found


def _point(unit: Mapping[str, Any], tier: str) -> Point:
    depth, pair = (unit["layer"] + 1) / unit["blocks"], "/".join(unit["pair"].values())
    where = (unit["model"], unit["layer"], depth, pair, unit["weight"], tier)
    return Point(*where, unit["arm"], tuple(unit["wordings"]), unit["seed"])


def _predictors(plan: Plan, unit: Mapping[str, Any], rng: np.random.Generator) -> pd.DataFrame:
    assert plan.predictors
    found = []
    for pair in _readouts(plan):
        for layer in range(unit["blocks"]):
            for tier in TIERS:
                depth = (layer + 1) / unit["blocks"]
                noise = dict(zip(PREDICTORS, rng.normal(size=len(PREDICTORS)), strict=True))
                planted = plan.predictors(Point(unit["model"], layer, depth, pair, 0.0, tier, seed=unit["seed"]))
                where = {"pair": pair, "layer": layer, "tier": tier, "depth": depth}
                fixed = {"remaining": unit["blocks"] - 1 - layer, "tied": 1.0, "lora_parameters": 1000.0 * (layer + 1)}
                found.append({**where, **noise, **fixed, **planted})
    return pd.DataFrame(found)


def _done(plan: Plan, unit: Mapping[str, Any]) -> dict[str, Any]:
    gate = {"gate": "last-layer lens equals the logits", "figure": 1.2e-6, "limit": 1e-3, "passed": True}
    readouts = [unit["readout"]] if unit["readout"] else _readouts(plan) if unit["kind"] != "stage1" else []
    stages = {"reference": {"stage1": 0.12}, "cell": {"stage2": 0.03}}
    return {
        **{key: unit[key] for key in ("kind", "id", "label")},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
        "seconds": {"load": 1.0, "train": 40.0, "evaluate": 19.0},
        "versions": {"python": "3.11.9", "mlx": "0.32.4", "mlx_lm": "0.32.2", "study": "0.1.0"},
        "machine": "Linux x86_64, cpu",
        "peak_memory_gb": 1.5,
        "gates": [gate],
        "tokens": {name: {op: _token(word) for op, word in _words(name).items()} for name in readouts},
        **({"text_kl": stages[unit["kind"]]} if unit["kind"] in stages else {}),
    }


def _token(word: str) -> dict[str, Any]:
    return {"text": f" {word}", "id": 100 + len(word), "leading_space": True}


def _pair(pair: str) -> dict[str, str]:
    return dict(zip(OPERATIONS, pair.split("/"), strict=True))


def _words(readout: str) -> dict[str, str]:
    """The class tokens of a read-out, by operation."""
    return _pair("cellar/violin" if readout.startswith("random:") else readout)


def _readout(pair: str, arm: str) -> str:
    """The name of an arm's class tokens in the column `pair`."""
    if arm == "random_words":
        return f"random:{pair}"
    return "/".join(reversed(pair.split("/"))) if arm == "swapped_tokens" else pair


def _readouts(plan: Plan) -> list[str]:
    return list(dict.fromkeys(_readout(pair, arm) for pair in plan.pairs for arm in plan.arms))


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
