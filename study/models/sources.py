"""The source of a model that is named by what it is: a folder, a GGUF file or a repository of the Hugging Face hub."""

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
