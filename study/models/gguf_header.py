"""The header of a GGUF file: its settings, and where its tensors are. Nothing is trusted, and MLX is not needed.

Every length is held against what is left of the file before anything is read or allocated, so that a broken header ends
in a message at once.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from study.config.catalogue import gguf_parts
from study.models import ModelError

MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "gemma3": "gemma3_text"}
"""Architectures that can be converted, with mlx-lm's names of them."""
MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_SETTINGS, MOST_TENSORS, MOST_ITEMS = 10_000, 100_000, 10_000_000
"""Largest number of settings, of tensors and of items of an array."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file: its shape, its type and its place."""

    shape: tuple[int, ...]
    """Rows first, as numpy has it; GGUF stores the sizes in the opposite order."""
    kind: int
    """Number of its type, a GGMLQuantizationType."""
    offset: int
    """Bytes from the beginning of the file to its data."""
    file: Path


@dataclass(frozen=True)
class Header:
    """The settings of a GGUF file by name, and its tensors by name; of all parts where it is split."""

    values: dict[str, Any]
    tensors: dict[str, Tensor]


class Metadata:
    """The settings of a GGUF file; names that begin with neither `general.` nor `tokenizer.` are those of the
    architecture. Raises ModelError where a setting is missing or is not of its kind."""

    def __init__(self, architecture: str, values: Mapping[str, Any]) -> None:
        self.architecture, self._values = architecture, values

    def __call__(self, name: str, default: Any = None) -> Any:
        return self._values.get(self._key(name), default)

    def _key(self, name: str) -> str:
        return name if name.startswith(("general.", "tokenizer.")) else f"{self.architecture}.{name}"

    def required(self, name: str) -> Any:
        value = self(name)
        if value is None:
            raise ModelError(f"the GGUF file lacks {self._key(name)}: it is incomplete; use another file")
        return value

    def size(self, name: str, default: int | None = None) -> int:
        """Return a whole number of at least 1; required where llama.cpp has no default for it."""
        value = self.required(name) if default is None else self(name, default)
        if type(value) is not int or not 0 < value < 2**31:
            raise ModelError(f"the GGUF file has {self._key(name)} = {shown(value)}, not a whole number of at least 1")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self(name, default)
        if type(value) is not bool:
            raise ModelError(f"the GGUF file has {self._key(name)} = {shown(value)}, neither true nor false")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number of at least 0; required where llama.cpp has no default for it."""
        value = self.required(name) if default is None else self(name, default)
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise ModelError(f"the GGUF file has {self._key(name)} = {shown(value)}, not a finite number of at least 0")
        return float(value)

    def refuse(self, name: str, allowed: float) -> None:
        """Raise ModelError where a setting has another value than the one that mlx-lm's model has."""
        value = self(name, allowed)
        if value != allowed:
            raise ModelError(
                f"{self.architecture} GGUF files with {name} = {shown(value)} cannot be converted: "
                f"mlx-lm's model has {allowed}"
            )


def shown(value: Any) -> str:
    """Return the beginning of a value, for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def read_header(file: Path) -> Header:
    """Return the header of a file, or of all parts of a split file, any of which may be given.

    Raises ModelError where a part is missing, is not GGUF or is cut short, or the parts are not those of one file.
    """
    parts = gguf_parts(file)
    if missing := [part.name for part in parts if not part.is_file()]:
        raise ModelError(
            f"{file} is one of {len(parts)} parts of a split file, and beside it {', '.join(missing[:9])} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    headers = [_read(part) for part in parts]
    first = headers[0]
    for number, (part, header) in enumerate(zip(parts, headers, strict=True)):
        count, place = header.values.get("split.count", 1), header.values.get("split.no", 0)
        if count in (0, 1) and len(parts) == 1:
            continue
        if (count, place) != (len(parts), number):
            raise ModelError(
                f"{part} says that it is part {_one_more(place)} of {count}: all parts of a split file have to lie in "
                f"one folder under llama.cpp's names, NAME-00001-of-{count if isinstance(count, int) else 1:05d}.gguf"
            )
    tensors: dict[str, Tensor] = {}
    for header in headers:
        if twice := tensors.keys() & header.tensors.keys():
            raise ModelError(f"two parts of {file} have the tensor {min(twice)}: they are not of one file")
        tensors |= header.tensors
    told = first.values.get("split.tensors.count", len(tensors)) if len(parts) > 1 else len(tensors)
    if told != len(tensors):
        raise ModelError(f"{file} should have {told} tensors in all its parts, and has {len(tensors)}")
    return Header(first.values, tensors)


def architecture_of(header: Header, file: Path) -> tuple[str, str]:
    """Return the architecture by its name in the file and by mlx-lm's. Raises ModelError where it has none of ours."""
    name = header.values.get("general.architecture")
    if not isinstance(name, str) or name not in MODEL_TYPES:
        raise ModelError(
            f"{file.name} holds the architecture {str(name)[:60]!r}; GGUF files can be converted for "
            + ", ".join(MODEL_TYPES)
            + ". Name the model by its hub id or folder instead"
        )
    return name, MODEL_TYPES[name]


def _one_more(place: Any) -> Any:
    return place + 1 if isinstance(place, int) else place


def _read(file: Path) -> Header:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _parsed(_Cursor(content), file)
    except (OSError, ValueError, struct.error) as error:  # ValueError: an empty file, or text that is not UTF-8
        raise ModelError(f"cannot read {file} as GGUF: {error}") from error


def _parsed(cursor: "_Cursor", file: Path) -> Header:
    """Return the header. Raises ValueError where it is broken."""
    if cursor.bytes(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ValueError(f"its version is {version}; {' and '.join(map(str, VERSIONS))} can be read, little-endian")
    tensor_count = cursor.count("Q", MOST_TENSORS, 24, "tensors")
    settings = cursor.count("Q", MOST_SETTINGS, 13, "settings")
    values: dict[str, Any] = {}
    for _ in range(settings):
        name = cursor.text()
        if name in values:
            raise ValueError(f"{name} is given twice")
        values[name] = cursor.value(cursor.number("I"))
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(tensor_count):
        name = cursor.text()
        if name in found:
            raise ValueError(f"the tensor {name} is there twice")
        sizes = [cursor.number("Q") for _ in range(cursor.count("I", 4, 8, "dimensions"))]
        if not 0 < prod(sizes) < 2**48:
            raise ValueError(f"the tensor {name} has the sizes {sizes}")
        found[name] = tuple(reversed(sizes)), cursor.number("I"), cursor.number("Q")
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment is {alignment}, not a power of two")
    start = -(-cursor.place // alignment) * alignment
    tensors = {name: Tensor(shape, kind, start + offset, file) for name, (shape, kind, offset) in found.items()}
    return Header(values, tensors)


class _Cursor:
    """A place in the content of a file, from which values are read. Raises ValueError where the file ends before."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._size, self.place = content, len(content), 0

    def bytes(self, length: int) -> bytes:
        if length > self._size - self.place:
            raise ValueError(f"it ends within a value: {length:,} bytes from byte {self.place:,} are not there")
        self.place += length
        return self._content[self.place - length : self.place]

    def number(self, form: str) -> Any:
        (value,) = struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))
        return value

    def count(self, form: str, most: int, least_bytes: int, what: str) -> int:
        """Return a number of things that follow, each of which takes at least so many bytes."""
        number = int(self.number(form))
        if number > most or number * least_bytes > self._size - self.place:
            raise ValueError(f"it says that {number:,} {what} follow")
        return number

    def text(self) -> str:
        return self.bytes(int(self.number("Q"))).decode()

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise ValueError(f"a setting has the type {kind}, which GGUF does not have")
        inner = self.number("I")
        if inner == _STRING:
            return list(self._texts(self.count("Q", MOST_ITEMS, 8, "texts")))
        if inner not in _SCALARS:
            raise ValueError(f"an array has items of the type {inner}")
        width = struct.calcsize(f"<{_SCALARS[inner]}")
        count = self.count("Q", MOST_ITEMS, width, "numbers")
        return list(struct.unpack(f"<{count}{_SCALARS[inner]}", self.bytes(count * width)))

    def _texts(self, count: int) -> Iterator[str]:
        for _ in range(count):
            yield self.text()
