"""Lenses that are fitted to a model: fitted once, then read from the cache."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from study.config.base import content_hash
from study.config.lenses import LensFitting, LensKind
from study.lens.hooks import attached
from study.lens.jacobian import fit_jacobian
from study.lens.texts import Texts, cut, written
from study.lens.translators import Translators, identity, load_translators
from study.measures.lenses import divergences, neutral_text
from study.models.cache_root import cache_root
from study.models.limits import EncodingError
from study.models.load import Loaded
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

        `about` of one that is fitted has what it was fitted on, and, as lists in JSON with a number for every block,
        its mean divergence on held-out texts (`kl`) and on the neutral text (`kl_neutral`, where the model can take
        it), nats, and those of the logit lens there (`kl_logit`, `kl_neutral_logit`).
        Raises LensError where the lens cannot read the architecture, EncodingError where the model cannot take the
        text, TrainingError where the tuned lens does not become finite, UnwritableError.
        """
        if kind == "logit":
            return self._logit()
        file = self.file(kind)
        if file.is_file():
            try:
                return load_translators(file)
            except (OSError, RuntimeError, KeyError, ValueError) as error:
                log.warning("%s is damaged and fitted again: %s", file, error)
        texts = self._fitted_on()
        if kind == "tuned":
            found = fit_tuned(self._loaded.model, texts, self._settings, partial(self._told, "tuned lens"))
        else:
            found = fit_jacobian(self._loaded.model, texts, self._settings, partial(self._told, "Jacobian lens"))
        found = replace(found, about={**found.about, **self._measured(found, texts)})
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

    def _logit(self) -> Translators:
        with attached(self._loaded.model) as lens:
            states = lens.hidden(mx.array([[0]]))
        return identity(len(states), states[0].shape[-1])

    def _measured(self, found: Translators, texts: Texts) -> dict[str, str]:
        settings = self._settings
        measured = {"": (texts, settings.held_out)}
        try:
            measured["_neutral"] = (neutral_text(self._loaded.tokenizer), 1)
        except EncodingError as error:
            log.warning("the lens is not held against the model on the neutral text: %s", error)
        about: dict[str, str] = {}
        for name, (held_out, count) in measured.items():
            lenses = [found, self._logit()]
            own, logit = divergences(self._loaded.model, lenses, held_out, count, settings.skipped)
            about |= {f"kl{name}": json.dumps(own.tolist()), f"kl{name}_logit": json.dumps(logit.tolist())}
        return about


def weights_hash(loaded: Loaded) -> str:
    """Return the SHA-256 of a model's weights as they are in memory, and of its config.json."""
    found = hashlib.sha256(json.dumps(loaded.config, sort_keys=True, default=str).encode())
    for name, value in sorted(tree_flatten(loaded.model.parameters())):
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.array(value.reshape(-1).view(mx.uint8), copy=False).data)
    return found.hexdigest()
