"""JSON objects that contain a digest of themselves, by which a change is noticed when they are read; file digests."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

SEAL = "seal"
"""Key of the SHA-256 of the rest of the object as canonical JSON."""


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object with its seal. Raises ValueError where it holds a number that is not finite."""
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return {**plain, SEAL: _digest(plain)}


def unseal(content: Any, older: Collection[str]) -> dict[str, Any]:
    """Return the object without its seal.

    An object that was written before there were seals has none; it is accepted if all its keys are in `older`, those of
    that time. Raises ValueError where it is no object, or its digest is not that of its seal.
    """
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    rest = {key: value for key, value in content.items() if key != SEAL}
    if SEAL not in content:
        if unknown := sorted(rest.keys() - set(older)):
            raise ValueError(f"it has no seal, and the key {unknown[0]!r}, which is unknown")
    elif content[SEAL] != _digest(rest):
        raise ValueError("it is not what was written: its SHA-256 differs from its seal")
    return rest


def parse_json(content: bytes) -> Any:
    """Return the content of a JSON file.

    Raises ValueError where it is not JSON, is nested too deeply, or holds a number that is not finite.
    """
    try:
        return json.loads(content, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError where it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds the number {text}, which is not finite")
    return number
