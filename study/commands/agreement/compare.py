"""How far what mlx-lm computes, and the study, lies from what transformers computed from the same folder."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.utils import load_model

from study.commands.agreement.keys import as_read
from study.lens.hooks import LensError, attached
from study.models import ModelError
from study.models.limits import TooLongError
from study.models.load import Loaded, load_folder

SAME = 1e-4
"""Largest difference of logits that agree, as a share of the standard deviation of transformers'."""


@dataclass(frozen=True)
class Difference:
    """How far the logits of two programs lie apart, those of the model and of the lens at every block."""

    sizes: tuple[float, ...]
    """For each text, the largest difference over the standard deviation."""
    position: int | None = None
    """First position, of all texts, that differs by more than SAME."""
    block: int | None = None
    """First block that does; None where the lens cannot read the architecture."""

    @property
    def agrees(self) -> bool:
        """Whether no logit differs by more than SAME."""
        return max(self.sizes) <= SAME


@dataclass(frozen=True)
class Verdict:
    """What became of one folder: a difference, or the reason why there is none."""

    difference: Difference | None = None
    refused: str = ""
    warned: bool = False
    """Whether the study warns of what mlx-lm computes otherwise."""


Logits = Mapping[str, np.ndarray]
"""Logits [positions, vocabulary] and those of the lens [blocks, positions, vocabulary] of texts, as transformers_side
names them."""


def of_mlx_lm(folder: Path, reads: Mapping[str, Any], texts: Mapping[str, Sequence[int]]) -> Logits | str:
    """Return what mlx-lm computes where it is given the keys that it reads; or its message where it does not load."""
    config = json.loads((folder / "config.json").read_text())
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            model, _ = load_model(folder, lazy=True, model_config={**as_read(config), **reads})
        model.set_dtype(mx.float32)
        return computed(model, texts)
    except (Exception, SystemExit) as error:
        return " ".join((told.getvalue() or str(error)).split())


def of_study(folder: Path, texts: Mapping[str, Sequence[int]]) -> tuple[Logits | str, bool]:
    """Return what the study computes from a folder as it is, of the texts that are not too long for it; or its message
    where it refuses the folder; and whether it warns of what mlx-lm computes otherwise."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            loaded = load_folder(folder, None)
            taken = {name: ids for name, ids in texts.items() if _takes(loaded, len(ids))}
            return computed(loaded.model, taken), bool(loaded.reading.warnings)
    except ModelError as error:
        return " ".join(str(error).replace(f"{folder}", "it").split()), False


def _takes(loaded: Loaded, tokens: int) -> bool:
    """Whether the study gives the model texts of this length, by a tokenizer with a token for each letter."""
    try:
        loaded.tokenizer.encode("a" * (tokens - 1))
    except TooLongError:
        return False
    return True


def computed(model: nn.Module, texts: Mapping[str, Sequence[int]]) -> Logits:
    """Return the logits of texts, and those of the lens at every block where it can read the architecture."""
    found = {}
    for name, ids in texts.items():
        found[f"logits {name}"] = np.array(model(mx.array([ids])).astype(mx.float32))[0]
        with attached(model) as lens, contextlib.suppress(LensError):
            read = [lens.read_out(states[0]).astype(mx.float32) for states in lens.hidden(mx.array([ids]))]
            found[f"lens {name}"] = np.array(mx.stack(read))
    return found


def between(ours: Logits, theirs: Logits) -> Difference:
    """Return how far our logits lie from transformers', of the texts of which there are any."""
    sizes, positions, blocks = [], [], []
    for key in (key for key in ours if key.startswith("logits")):
        apart = np.abs(ours[key] - theirs[key]).max(axis=-1) / theirs[key].std()
        of_lens = key.replace("logits", "lens")
        size = float(apart.max())
        positions += np.flatnonzero(apart > SAME)[:1].tolist()
        if of_lens in ours:
            spread = theirs[of_lens].std(axis=(1, 2), keepdims=True)
            by_block = (np.abs(ours[of_lens] - theirs[of_lens]) / spread).max(axis=(1, 2))
            size = max(size, float(by_block.max()))
            blocks += np.flatnonzero(by_block > SAME)[:1].tolist()
        sizes.append(size)
    return Difference(tuple(sizes), min(positions, default=None), min(blocks, default=None))


def verdict(ours: Logits | str, theirs: Logits, warned: bool = False) -> Verdict:
    """Return the difference from transformers' logits, or why there is none."""
    return Verdict(refused=ours) if isinstance(ours, str) else Verdict(between(ours, theirs), warned=warned)
