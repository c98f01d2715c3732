"""Affine maps of hidden states, one for each block, after which the model's own norm and head read them.

The logit lens is the identity. The tuned lens (Belrose et al. 2023, arXiv 2303.08112) has maps that are trained to give
the model's own prediction, the Jacobian lens (Gurnee et al. 2026, arXiv 2607.15495) averaged Jacobians.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from jaxtyping import Float

from study.config.lenses import LensKind
from study.results.files import writing


@dataclass(frozen=True)
class Translators:
    """A map h -> A h + b for each block; that of the last block is the identity."""

    kind: LensKind
    maps: Float[mx.array, "blocks hidden hidden"]
    biases: Float[mx.array, "blocks hidden"]
    about: Mapping[str, str] = field(default_factory=dict)
    """What they were fitted on, and how well."""

    def __call__(self, states: Float[mx.array, "n blocks hidden"]) -> Float[mx.array, "n blocks hidden"]:
        """Return the states that the model's own norm and head are to read."""
        return mx.einsum("nbh,bgh->nbg", states, self.maps) + self.biases

    def at_layer(self, states: Float[mx.array, "n hidden"], layer: int) -> Float[mx.array, "n hidden"]:
        """Return the same of states after one block."""
        return states @ self.maps[layer].T + self.biases[layer]

    def save(self, file: Path) -> None:
        """Write them as safetensors, with what they were fitted on as metadata. Raises UnwritableError."""
        partial = file.with_name(f".{file.name}.partial.safetensors")
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            mx.save_safetensors(
                str(partial), {"maps": self.maps, "biases": self.biases}, {**self.about, "lens": self.kind}
            )
            partial.replace(file)


def identity(blocks: int, hidden: int) -> Translators:
    """Return the translators of the logit lens."""
    return Translators("logit", mx.stack([mx.eye(hidden)] * blocks), mx.zeros((blocks, hidden)))


def load_translators(file: Path) -> Translators:
    """Return the translators that `Translators.save` wrote."""
    read: Any = mx.load(str(file), return_metadata=True)
    arrays, about = read
    return Translators(about.pop("lens"), arrays["maps"], arrays["biases"], about)
