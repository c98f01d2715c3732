"""The program's version, and the fingerprint of its source code."""

import hashlib
from functools import cache
from pathlib import Path

__version__ = "0.1.0"


@cache
def code_fingerprint() -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of the source code, which must be equal on all machines."""
    digest = hashlib.sha256()
    top = Path(__file__).parent.parent
    for file in sorted(file for package in ("study", "actors") for file in (top / package).rglob("*.py")):
        digest.update(f"{file.relative_to(top).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:8]
