"""Lenses that are fitted to a model, and the cache from which those of a model as it is are read again."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from study.config.base import content_hash
from study.config.lenses import LENSES, LensFitting, LensKind
from study.lens.hooks import LensError, attached
from study.lens.jacobian import fit_jacobian
from study.lens.texts import Texts, cut, written
from study.lens.translators import Translators, identity, load_translators
from study.measures.lenses import divergences, neutral_text
from study.models.cache_root import cache_root
from study.models.limits import CheckedTokenizer, EncodingError
from study.models.load import Loaded
from study.training.loop import TrainingError
from study.training.tuned_lens import fit_tuned

FITTED = 1
"""Raised when a change of the code changes fitted lenses, so that older ones are made again."""

log = logging.getLogger(__name__)


class FittedLenses:
    """The lenses of one model, fitted on texts that it writes, or on a text of the user's."""

    def __init__(
        self,
        loaded: Loaded,
        settings: LensFitting | None = None,
        text: str | None = None,
        name: str = "",
        tell: Callable[[str], None] = log.info,
    ) -> None:
        """Take the model, and the user's text with its name, if there is one. `tell` is called with what is being done
        and how far it is."""
        self._loaded, self._settings = loaded, settings or LensFitting()
        self._text, self._name, self._tell = text, name, tell
        self._texts: Texts | None = None
        self._weights: str | None = None

    def lens(self, kind: LensKind) -> Translators:
        """Return a lens of the model, from the cache if it is there.

        Raises what `fit_lens` raises, EncodingError where the model cannot take the text, and UnwritableError.
        """
        if kind == "logit":
            return _logit(self._loaded.model)
        file = self.file(kind)
        if file.is_file():
            try:
                return load_translators(file)
            except (OSError, RuntimeError, KeyError, ValueError) as error:
                log.warning("%s is damaged and fitted again: %s", file, error)
        texts, told = self._fitted_on(), partial(self._told, LENSES[kind])
        found = fit_lens(kind, self._loaded.model, self._loaded.tokenizer, texts, self._settings, told)
        found.save(file)
        return found

    def file(self, kind: LensKind) -> Path:
        """Return where a lens is kept: a function of the weights, of the settings that concern it, and of the text."""
        if self._weights is None:
            self._weights = weights_hash(self._loaded)
        key = content_hash([FITTED, self._settings.for_lens(kind), self._text, self._weights])
        return cache_root() / "lenses" / f"{kind}_{key}.safetensors"

    def _told(self, what: str, part: float) -> None:
        self._tell(f"{what}: {100 * part:.0f} %")

    def _fitted_on(self) -> Texts:
        if self._texts is None:
            self._tell("writing the texts" if self._text is None else "encoding the text")
            tokenizer, settings = self._loaded.tokenizer, self._settings
            if self._text is None:
                self._texts = written(self._loaded.model, tokenizer, settings)
            else:
                self._texts = cut(tokenizer, self._text, settings, self._name)
        return self._texts


def fit_lens(
    kind: LensKind,
    model: nn.Module,
    tokenizer: CheckedTokenizer,
    texts: Texts,
    settings: LensFitting,
    on_part: Callable[[float], None],
) -> Translators:
    """Fit a lens to a frozen model, and hold it against the model.

    `about` of what is returned has what it was fitted on, and, as lists in JSON with a number for every block, its mean
    divergence on held-out texts (`kl`) and on the neutral text (`kl_neutral`, where the model can take it), nats, and
    those of the logit lens there (`kl_logit`, `kl_neutral_logit`). `on_part` is called with the share that is done.
    Raises LensError where the lens cannot read the architecture, TrainingError where the lens is not finite.
    """
    if (blocks := len(model.layers)) < 2:
        raise LensError(f"a lens is fitted to the blocks before the last, and the model has {blocks}")
    found = (fit_tuned if kind == "tuned" else fit_jacobian)(model, texts, settings, on_part)
    if not bool((mx.isfinite(found.maps).all() & mx.isfinite(found.biases).all()).item()):
        raise TrainingError(f"the {LENSES[kind]} is not finite")
    measured = {"": (texts, settings.held_out)}
    try:
        neutral = neutral_text(tokenizer)
    except EncodingError as error:
        log.warning("the lens is not held against the model on the neutral text: %s", error)
    else:
        if neutral.ids.shape[1] > settings.skipped:
            measured["_neutral"] = (neutral, 1)
    about = dict(found.about)
    for name, (held_out, count) in measured.items():
        own, logit = divergences(model, [found, _logit(model)], held_out, count, settings.skipped)
        about |= {f"kl{name}": json.dumps(own.tolist()), f"kl{name}_logit": json.dumps(logit.tolist())}
    return replace(found, about=about)


def _logit(model: nn.Module) -> Translators:
    with attached(model) as lens:
        states = lens.hidden(mx.array([[0]]))
    return identity(len(states), states[0].shape[-1])


def weights_hash(loaded: Loaded) -> str:
    """Return the SHA-256 of a model's weights as they are in memory, and of its config.json."""
    found = hashlib.sha256(json.dumps(loaded.config, sort_keys=True, default=str).encode())
    for name, value in sorted(tree_flatten(loaded.model.parameters())):
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.array(value.reshape(-1).view(mx.uint8), copy=False).data)
    return found.hexdigest()
