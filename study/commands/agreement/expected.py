"""Expected values of tiny models: a config.json, the recipe of its weights and a few logits of transformers, as JSON.

They hold a loader to what transformers computes where there is no torch.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from study.commands.agreement.compare import Difference, Logits, between
from study.commands.agreement.recipe import draw
from study.models.built import CONFIG, WEIGHTS, word_tokenizer

ENTRIES = np.linspace(0, 299, 16).astype(int)
"""Token ids whose logits are kept, at the last position of each text."""
Recipe = Mapping[str, tuple[list[int], float]]
"""Shape and centre of each tensor by its name."""


@dataclass(frozen=True)
class Expected:
    """What transformers computed for a tiny model, and how far mlx-lm lay from it, on the entries that are kept."""

    title: str
    config: dict[str, Any]
    """config.json as transformers saved it."""
    reads: dict[str, Any]
    """Keys that mlx-lm needs beside those that transformers saves."""
    weights: Recipe
    transformers: Logits
    sizes: tuple[float, ...]
    """For each text, the largest difference of mlx-lm's logits over the standard deviation."""

    def difference(self, ours: Logits) -> Difference:
        """Return how far logits of the whole model lie from what transformers computed."""
        return between(kept(ours), self.transformers)

    def make(self, folder: Path) -> None:
        """Write the model to an existing folder."""
        (folder / CONFIG).write_text(json.dumps(self.config))
        weights = {name: mx.array(draw(name, *told)) for name, told in self.weights.items()}
        mx.save_safetensors(str(folder / WEIGHTS), weights, {"format": "pt"})
        add_tokenizer(folder)


def add_tokenizer(folder: Path) -> None:
    """Write a tokenizer to the folder of a model, which the study's loader asks for."""
    word_tokenizer([]).save_pretrained(folder)


def kept(logits: Logits) -> Logits:
    """Return the entries that are kept of logits."""
    return {key: values[..., -1:, ENTRIES] for key, values in logits.items()}


def write(expected: Expected, file: Path, versions: Mapping[str, str]) -> None:
    """Write expected values, with the versions of the libraries that gave them."""
    content = {
        "title": expected.title,
        "versions": dict(versions),
        "config": expected.config,
        "reads": expected.reads,
        "weights": _packed(expected.weights),
        "transformers": {key: _rounded(values) for key, values in expected.transformers.items()},
        "sizes": [float(f"{size:.3g}") for size in expected.sizes],
    }
    file.write_text("{\n" + ",\n".join(f'"{key}": {_compact(value)}' for key, value in content.items()) + "\n}\n")


def read(file: Path) -> Expected:
    """Read what `write` wrote."""
    content = json.loads(file.read_text())
    return Expected(
        content["title"],
        content["config"],
        content["reads"],
        _unpacked(content["weights"]),
        {key: np.array(values, np.float32) for key, values in content["transformers"].items()},
        tuple(content["sizes"]),
    )


def _packed(recipe: Recipe) -> list[list[Any]]:
    """Return a row for tensors that differ in the numbers of their names alone: name, shape, centre, the numbers."""
    rows: dict[str, list[Any]] = {}
    for name, (shape, centre) in recipe.items():
        pattern = re.sub(r"\d+", "{}", name)
        row = rows.setdefault(json.dumps([pattern, shape, centre]), [pattern, shape, centre, []])
        row[-1].append([int(number) for number in re.findall(r"\d+", name)])
    return list(rows.values())


def _unpacked(rows: list[list[Any]]) -> Recipe:
    return {
        pattern.format(*numbers): (shape, centre) for pattern, shape, centre, of_each in rows for numbers in of_each
    }


def _rounded(values: np.ndarray) -> Any:
    return [_rounded(each) for each in values] if values.ndim else float(f"{values:.6g}")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
