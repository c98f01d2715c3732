"""The source of a model that is named by what it is: a folder, a GGUF file or a repository of the Hugging Face hub."""

import os
from pathlib import Path

from study.config.catalogue import FolderSource, GgufSource, HubSource, is_hub_id
from study.config.text import rooted


def source_named(name: str, folder: Path) -> FolderSource | GgufSource | HubSource | None:
    """Return what `name` names: a folder or a `.gguf` file, whose path is relative to `folder`, else a repository of
    the hub; None where it is none of these."""
    try:
        place = rooted(name, folder)
        if place.is_dir():
            return FolderSource(folder=str(place))
        if place.is_file() and place.suffix == ".gguf":
            return GgufSource(gguf=str(place))
        found = place.exists()
    except (OSError, RuntimeError, ValueError):  # too long for a path, ~ of no user, or with a zero byte
        return None
    return HubSource(hub=name) if is_hub_id(name) and not found else None


def looks_like_a_path(name: str) -> bool:
    """Return whether a text that names no model was meant as a path, and not as a short name or a hub id."""
    return name.startswith((".", "~", "/")) or name.count("/") > 1 or name.endswith((".gguf", ".safetensors"))


def place_of(name: str, folder: Path) -> str:
    """Return where a path that is relative to `folder` leads, and what is there."""
    try:
        place = Path(os.path.abspath(rooted(name, folder)))
        if place.suffix == ".safetensors" and place.is_file():
            return f"name the folder of {place.name}, {place.parent}"
        return f"{place} is there, and is neither" if place.exists() else f"there is nothing at {place}"
    except (OSError, RuntimeError, ValueError):
        return "it is no path"
