"""Mistakes in files that users write: what is wrong, where, what is allowed, and the nearest valid name."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from study.config.base import Settings
from study.config.catalogue import KEYS as SOURCE_KEYS
from study.config.data import DATA_KEYS
from study.config.names import LAYER_KINDS, Names

SHOWN = 80
"""Largest number of characters of a wrong value that a message shows."""
GUESSED = 100
"""Largest number of mistakes of a file for which the nearest valid name is looked for."""


def checked(kind: Any, data: Any, mistakes: list[str], names: Names | None = None) -> Any:
    """Return `data` as settings of `kind`, which may use `names`; None, with its mistakes added, if it is not valid."""
    try:
        return TypeAdapter(kind).validate_python(data, context=names)
    except ValidationError as error:
        mistakes += [_mistake(item, kind, i < GUESSED) for i, item in enumerate(_worth_telling(error))]
    return None


def _worth_telling(error: ValidationError) -> list[Any]:
    """Return one mistake for each path: a value that fits no branch of a union gives an error for each branch."""
    kept: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        path = _path(item["loc"])
        if path not in kept:
            kept[path] = {**item, "path": path}
        elif item["msg"] not in kept[path]["msg"]:
            kept[path]["msg"] += f", or {_lower(item['msg'])}"
    return list(kept.values())


def _path(place: tuple[int | str, ...]) -> str:
    """Return the path as a user would write it: without the branches of unions, which pydantic inserts."""
    branches = {"int", "float", "str", "constrained-int", "constrained-float", "[key]"}
    parts = [
        str(part)
        for before, part in zip((None, *place), place, strict=False)
        if not (
            part in branches
            or (isinstance(part, str) and re.search(r"[\[(]", part))
            or (before == "source" and part in SOURCE_KEYS)
            or (before == "data" and part in DATA_KEYS)
            or (before == "layers" and part in LAYER_KINDS)
        )
    ]
    return ".".join(parts) or "the file"


def _mistake(item: Any, kind: Any, guess: bool) -> str:
    path, given = item["path"], item["input"]
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(kind, item["loc"][:-1])
        meant = nearest(item["loc"][-1], allowed) if guess else ""
        return f"{path}: unknown key{meant}; allowed: {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"{path}: is missing"
    if item["type"] in ("model_type", "dict_type"):
        return f"{path}: must be keys with values{_shown(given) if given is not None else ', but is empty'}"
    shown = _shown(given) if not isinstance(given, dict | Settings) else ""
    allowed = re.findall(r"'([^']*)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else []
    return f"{path}: {_lower(item['msg'])}{nearest(given, allowed)}{shown}"


def _fields_at(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """Return the allowed keys of the settings at the path `place`."""
    for part in place:
        settings = _settings_within(kind)
        if len(settings) > 1:  # a source or data, which are unions; `part` says which branch
            kind = next(one for one in settings if part in one.model_fields)
        elif settings and part in settings[0].model_fields:
            kind = settings[0].model_fields[str(part)].annotation
    return [field.alias or name for one in _settings_within(kind) for name, field in one.model_fields.items()]


def _settings_within(kind: Any) -> list[type[Settings]]:
    if isinstance(kind, type) and issubclass(kind, Settings):
        return [kind]
    return [one for part in get_args(kind) for one in _settings_within(part)]


def nearest(word: Any, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _shown(given: Any) -> str:
    text = repr(given)
    return f" (given: {text if len(text) <= SHOWN else text[:SHOWN] + '…'})"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
