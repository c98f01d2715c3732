"""The sizes of a model, read from its files where they are on this machine; without loading MLX or any weights."""

import importlib.util
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from study.config.catalogue import UNKNOWN, BuiltSource, Entry, FolderSource, GgufSource, HubSource, Model
from study.config.json_files import parse_json, read_json
from study.models import ModelError
from study.models.cache import configuration, locate
from study.models.gguf_header import architecture_of, read_header

LARGEST_SIZE = 2**31 - 1
"""Largest size of a model: no index is larger."""
LARGEST_CARD, LONGEST_LICENCE = 2**16, 100
"""Characters of a model card that are looked at, and of a licence that are told."""
LARGEST_JSON, LARGEST_HEADER = 2**24, 2**27
"""Largest size of a JSON file of a model, and of the header of its weights, in bytes."""
BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
VOCABULARY = ("vocab_size",)
"""Keys of config.json under which architectures have their sizes."""
NOT_TEXT = ("vision", "visual", "multi_modal", "mm_", "audio", "image")
"""Beginnings of parts of names of weights that no text passes."""
UNLIKE = 2
"""Factor by which a number of parameters is off that is a mistake: files may hold a tied head twice, or buffers."""


@dataclass(frozen=True)
class Facts:
    """The sizes of a model; None where its files do not tell."""

    blocks: int | None = None
    hidden_size: int | None = None
    vocabulary_size: int | None = None
    parameters: float | None = None
    architecture: str | None = None
    licence: str | None = None


def known_model(entry: Entry, mistakes: list[str]) -> Model | None:
    """Return the model with what its entry leaves out; None where that is not known, or its entry is wrong.

    Mistakes are added to `mistakes`, each beginning with its place in the entry.
    """
    source, found = entry.source, Facts()
    if isinstance(source, FolderSource) and not (Path(source.folder) / "config.json").is_file():
        mistakes.append(f"source.folder: {source.folder} has no config.json")
        return None
    if isinstance(source, GgufSource) and (missing := source.missing):
        mistakes.append(f"source.gguf: {', '.join(map(str, missing[:9]))} does not exist")
        return None
    try:
        found = facts_of(entry) or found
    except ModelError as error:
        mistakes.append(f"source: {error}")
        return None
    before = len(mistakes)
    if entry.blocks is None and found.blocks is None and isinstance(source, HubSource):
        try:
            found = _of_folder(configuration(source))
        except ModelError as error:
            mistakes.append(f"source: {error}")
        except OSError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            mistakes.append(
                f"source.hub: {source.hub} is not on this machine, and its config.json cannot be fetched from the "
                f"Hugging Face hub: {reason}. Check the name and the network, or give its `blocks` in models.yaml"
            )
    mistakes += _contradictions(entry, found)
    if len(mistakes) == before and entry.blocks is None and found.blocks is None:
        mistakes.append("blocks: is missing, and its files do not tell: give it")
    if len(mistakes) > before:
        return None
    told = {one.name: getattr(found, one.name) for one in fields(found) if getattr(entry, one.name) in (None, UNKNOWN)}
    told["licence"] = told.get("licence") or entry.licence
    try:
        return Model(**{**dict(entry), **told})
    except ValidationError as error:
        mistakes += [f"source: its files give {one['loc'][0]} = {one['input']}: {one['msg']}" for one in error.errors()]
        return None


def facts_of(entry: Entry) -> Facts | None:
    """Return the sizes that the model's files tell; None where it is built, or not on this machine.

    Raises ModelError where its files are broken.
    """
    if isinstance(entry.source, BuiltSource):
        return None
    if isinstance(entry.source, GgufSource):
        return _of_gguf(Path(entry.source.gguf))
    folder = locate(entry)
    return None if folder is None else _of_folder(folder)


def _contradictions(entry: Entry, found: Facts) -> Iterator[str]:
    for name in ("blocks", "hidden_size", "vocabulary_size", "architecture"):
        given, there = getattr(entry, name), getattr(found, name)
        if None not in (given, there) and given != there:
            yield f"{name}: is {given} here, and {there} in the model's files; correct it or leave it out"
    given, there = entry.parameters, found.parameters
    if given and there and not 1 / UNLIKE < given / there < UNLIKE:
        yield f"parameters: is {given:.4g} here, and {there:.4g} in the model's files; correct it or leave it out"


def _of_gguf(file: Path) -> Facts:
    header = read_header(file)
    name, architecture = architecture_of(header, file)
    embedding = header.tensors.get("token_embd.weight")
    sizes = {key: header.values.get(f"{name}.{key}") for key in ("block_count", "embedding_length")}
    return Facts(
        blocks=_size(sizes, ("block_count",), file),
        hidden_size=_size(sizes, ("embedding_length",), file),
        vocabulary_size=embedding.shape[0] if embedding else None,
        parameters=float(sum(prod(tensor.shape) for tensor in header.tensors.values())),
        architecture=architecture,
        licence=_licence(header.values.get("general.license")),
    )


def _of_folder(folder: Path) -> Facts:
    file = folder / "config.json"
    config = _json(file)
    inner = config.get("text_config")
    text = {**config, **(inner if isinstance(inner, dict) else {})}
    _check_heads(text, file)
    _check_tokenizer(folder)
    architecture = config.get("model_type")
    if not isinstance(architecture, str):
        raise ModelError(f"{file} has no model_type: it is not the configuration of a model")
    return Facts(
        blocks=_size(text, BLOCKS, file),
        hidden_size=_size(text, HIDDEN, file),
        vocabulary_size=_size(text, VOCABULARY, file),
        parameters=_parameters(folder, config),
        architecture=architecture,
        licence=_licence(_front_matter(folder / "README.md").get("license")),
    )


def _front_matter(file: Path) -> dict[str, Any]:
    """Return the YAML at the head of a model card, as the hub has it; empty where there is none that can be read."""
    try:
        with file.open(encoding="utf-8") as stream:
            found = re.match(r"---\n(.*?)\n---\s", stream.read(LARGEST_CARD), re.DOTALL)
        content = yaml.safe_load(found[1]) if found else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _licence(stated: Any) -> str | None:
    """Return the licence that a model states, in a word or two; None where it states none."""
    text = " ".join(stated.split()) if isinstance(stated, str) else ""
    return text[:LONGEST_LICENCE] if text.isprintable() and text else None


def _json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises ModelError where it is none, or very large."""
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise ModelError(f"{file} is larger than {LARGEST_JSON // 2**20} MiB: it is no configuration of a model")
        content = read_json(file, lenient=True)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ModelError(f"{file} is not JSON: {error}") from error
    except ValueError as error:
        raise ModelError(f"{file} cannot be used: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} is not a JSON object: it is no configuration of a model")
    return content


def _size(config: Mapping[str, Any], names: tuple[str, ...], file: Path) -> int | None:
    """Return the first of the sizes that is given; None if none is. Raises ModelError where it is no size."""
    for name in names:
        value = config.get(name)
        if value is not None:
            if type(value) is not int or not 0 < value <= LARGEST_SIZE:
                shown = json.dumps(value)[:60]
                raise ModelError(f"{file}: {name} is {shown}, not a whole number from 1 to {LARGEST_SIZE:,}")
            return value
    return None


def _check_heads(config: Mapping[str, Any], file: Path) -> None:
    """Raise ModelError where heads do not divide the hidden size, or heads of keys and values those of queries."""
    if any(isinstance(config.get(name), list) for name in ("num_attention_heads", "num_key_value_heads")):
        return  # a number for each block
    heads, shared = (_size(config, (name,), file) for name in ("num_attention_heads", "num_key_value_heads"))
    hidden = _size(config, HIDDEN, file)
    own_width = config.get("head_dim") is not None or config.get("kv_lora_rank") is not None
    if heads and hidden and not own_width and hidden % heads:
        raise ModelError(f"{file}: num_attention_heads is {heads}, which does not divide the hidden size {hidden}")
    if heads and shared and heads % shared:
        raise ModelError(f"{file}: num_key_value_heads is {shared}, which does not divide the {heads} heads of queries")


def _check_tokenizer(folder: Path) -> None:
    """Raise ModelError where mlx-lm has no parser of the kind that the tokenizer's configuration asks for."""
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return
    kind = _json(file).get("tool_parser_type")
    found = importlib.util.find_spec("mlx_lm")
    if kind is None or found is None or found.origin is None:
        return
    known = sorted(one.stem for one in (Path(found.origin).parent / "tool_parsers").glob("*.py") if one.stem[0] != "_")
    if kind not in known:
        raise ModelError(f"{file}: tool_parser_type is {str(kind)[:60]!r}; mlx-lm has {', '.join(known)}")


def _parameters(folder: Path, config: Mapping[str, Any]) -> float | None:
    """Return the number of parameters that text passes, from the headers of the weights; None if there are none."""
    quantised = config.get("quantization")
    count = 0
    for file in sorted(folder.glob("model*.safetensors")):
        for name, (kind, shape) in _tensors(file).items():
            stem, _, part = name.rpartition(".")
            if part in ("scales", "biases") or any(one.startswith(NOT_TEXT) for one in name.split(".")):
                continue
            count += prod(shape) * (32 // _bits(quantised, stem) if kind == "U32" else 1)
    return float(count) or None


def _bits(quantised: Any, layer: str) -> int:
    """Return the bits of a weight of a layer, several of which lie in 32 bits; 32 where the configuration is silent."""
    settings = quantised if isinstance(quantised, dict) else {}
    own = settings.get(layer)
    bits = (own if isinstance(own, dict) else settings).get("bits")
    return bits if type(bits) is int and 0 < bits <= 32 else 32


def _tensors(file: Path) -> dict[str, tuple[str, list[int]]]:
    """Return the types and shapes in the header of a safetensors file. Raises ModelError where it is broken."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(LARGEST_HEADER, file.stat().st_size):
                raise ValueError(f"a header of {length:,} bytes")
            header = parse_json(stream.read(length))
        tensors = {name: (str(one["dtype"]), one["shape"]) for name, one in header.items() if name != "__metadata__"}
        if not all(
            isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape) for _, shape in tensors.values()
        ):
            raise ValueError("a shape that is none")
        return tensors
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        raise ModelError(f"{file} has no header of safetensors: {error}") from error
