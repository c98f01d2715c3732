"""The tiny models of models.yaml, and the known causes of disagreements."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from study.commands.agreement.recipe import ids_of

TEXTS = {str(length): ids_of(length, 300) for length in (12, 40)}
"""Token ids of texts by their length: one within and one beyond the sliding windows of 16."""
FILE = Path(__file__).with_name("models.yaml")


@dataclass(frozen=True)
class Cause:
    """A known disagreement."""

    what: str
    """The cause; in mlx-lm unless it says otherwise."""
    faithful: str
    """The side that computes what the authors' code and configuration say."""
    changed: dict[str, Any]
    """The change of transformers after which both agree: keys of its configuration, or the name of a substitution."""


@dataclass(frozen=True)
class TinyModel:
    """A model that transformers makes, of an architecture or a variant of it."""

    title: str
    config: dict[str, Any] = field(default_factory=dict)
    """Keys of transformers' configuration, beside the general ones."""
    reads: dict[str, Any] = field(default_factory=dict)
    """Keys that mlx-lm needs beside those that transformers saves."""
    centres: dict[str, float] = field(default_factory=dict)
    """Values around which vectors lie, by the end of their names."""
    prefix: str = ""
    """The beginning of the names that transformers saves, which published weights lack."""
    cause: Cause | None = None

    @property
    def architecture(self) -> str:
        """The `model_type` of transformers."""
        return self.title.split()[0]

    @property
    def name(self) -> str:
        """The title as the name of a file."""
        return self.title.replace(" ", "-").replace("'", "")


def general() -> dict[str, Any]:
    """Return the keys that every configuration gets that has them."""
    return cast(dict[str, Any], _content()["general"])


def tiny_models() -> list[TinyModel]:
    """Return all tiny models, in order."""
    declared = _content()["models"]
    return [_model(title, declared[title.split()[0]], own) for title, own in declared.items()]


def _model(title: str, first: Mapping[str, Any], own: Mapping[str, Any]) -> TinyModel:
    cause = Cause(own["cause"], own["faithful"], own["changed"]) if "cause" in own else None
    merged = {key: {**first.get(key, {}), **own.get(key, {})} for key in ("config", "reads", "centres")}
    return TinyModel(title, **merged, prefix=first.get("prefix", ""), cause=cause)


def _content() -> dict[str, Any]:
    return cast(dict[str, Any], yaml.safe_load(FILE.read_text()))
