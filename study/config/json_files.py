"""JSON files: read with checks, and sealed by a digest of themselves, by which a change is noticed; file digests."""

import errno
import gzip
import hashlib
import json
import math
import stat
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

LONGEST_NUMBER = 400
"""Largest number of digits of a whole number."""
SHOWN = 80
"""Largest number of characters of a value that a message shows."""
COMPRESSED = ".gz"
"""What the name of a compressed JSON file ends in."""
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


def read_json(file: Path, lenient: bool = False) -> Any:
    """Return the content of a JSON file, which may end in `.gz` and be compressed; `lenient` as for `parse_json`.

    Raises ValueError where its content is refused, OSError where it cannot be read or is no file, such as a pipe, which
    would be waited for.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file", str(file))
    content = file.read_bytes()
    if file.suffix == COMPRESSED:
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"it cannot be decompressed: {error}") from None
    return parse_json(content, lenient)


def shortest(file: Path) -> Path:
    """Return a JSON file's compressed form where there is one, as in packed studies, or else the file."""
    packed = file.with_name(f"{file.name}{COMPRESSED}")
    return packed if packed.is_file() else file


def parse_json(content: str | bytes, lenient: bool = False) -> Any:
    """Return the content of JSON.

    Raises ValueError where it is not JSON, is nested too deeply, has a key twice in one object, or holds a number that
    is not finite or has more than LONGEST_NUMBER digits. `lenient`: as in files of models, numbers may be infinite, and
    of a key that is given twice the last value counts.
    """

    def number(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) or (lenient and not math.isnan(value))):
            raise ValueError(f"it holds the number {text[:SHOWN]}, which is not finite")
        return value

    try:
        objects = dict if lenient else _keys_once
        return json.loads(
            content, parse_float=number, parse_constant=number, parse_int=_whole, object_pairs_hook=objects
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError where it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_and_digest(file: Path) -> dict[str, Any]:
    """Return the bytes and the SHA-256 of a file, as lists of files have them. Raises OSError."""
    return {"bytes": file.stat().st_size, "sha256": file_sha256(file)}


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"it holds a number of {len(text)} digits")
    return int(text)


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:SHOWN]!r} is given twice")
    return data
