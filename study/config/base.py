"""The base class of all settings that a user may write in YAML, and the hash that identifies results."""

import hashlib
import json
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings that are frozen and strict: an unknown key or a value of another type is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def plain(value: Any) -> Any:
    """Return `value` as JSON-ready data. Raises TypeError on a type whose text form may differ between runs."""
    if isinstance(value, Settings):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if _is_text(key)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"cannot hash a {type(value).__name__}: only Settings, text, numbers, None, lists and dicts")


def content_hash(value: Any) -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _is_text(key: Any) -> bool:
    if isinstance(key, str):
        return True
    raise TypeError(f"cannot hash a dict with the key {key!r}: keys must be text")
