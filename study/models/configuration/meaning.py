"""A config.json as transformers reads it: complete with its defaults, and in the words of its present version."""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.logging import get_verbosity, set_verbosity


def meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keys with the values that transformers gives them; empty where it does not know the architecture, or
    does not accept the configuration."""
    model_type = str(config.get("model_type"))
    if not knows(model_type):
        return {}
    with _silent():
        try:
            read = CONFIG_MAPPING[model_type].from_dict(copy.deepcopy(dict(config))).to_dict()
        except Exception:  # each class of transformers has checks of its own
            return {}
    return dict(read)


def knows(model_type: str) -> bool:
    """Whether transformers has the architecture."""
    return model_type in CONFIG_MAPPING


@contextmanager
def _silent() -> Iterator[None]:
    before = get_verbosity()
    set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        set_verbosity(before)
