"""Models that a study names without an entry in `models.yaml`: a folder, a GGUF file or a repository of the hub."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config.catalogue import Entry, FolderSource, GgufSource, HubSource
from study.config.text import NAME_LENGTH
from study.models.sources import source_named

_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")


@dataclass(frozen=True)
class ByName:
    """A study's YAML in which every model has a short name, and the entries of those that had none."""

    data: Any
    entries: dict[str, Entry]
    places: dict[str, int]
    """Where each of them stands in `models`."""
    mistakes: list[str]


def with_short_names(data: Any, catalogue: Mapping[str, Entry], folder: Path) -> ByName:
    """Replace what `models` names by what it is with a short name, the last part of its path or id.

    A repository that an entry of the catalogue has as its source, at no other revision and with no other form of its
    weights than a name alone means, stands for that entry. Paths are relative to `folder`.
    """
    written = data.get("models") if isinstance(data, dict) else None
    if not isinstance(written, list):
        return ByName(data, {}, {}, [])
    known = {
        entry.source.hub: name
        for name, entry in catalogue.items()
        if isinstance(entry.source, HubSource)
        and entry.identity() == Entry(source=HubSource(hub=entry.source.hub)).identity()
    }
    names: list[Any] = []
    entries: dict[str, Entry] = {}
    places: dict[str, int] = {}
    mistakes = []
    for i, name in enumerate(written):
        if not isinstance(name, str) or name in catalogue:
            names.append(name)
            continue
        if name in known:
            names.append(known[name])
            continue
        source = source_named(name, folder)
        if source is None:
            names.append(name)
            continue
        short = short_name(source)
        if short in catalogue or entries.get(short, Entry(source=source)).source != source:
            taken = "an entry of models.yaml" if short in catalogue else "another model of this study"
            mistakes.append(
                f"models.{i}: {name!r} would be called {short!r}, as {taken} is: give it an entry with another name in "
                f"models.yaml, such as `my-{short}: {{source: {{{_key(source)}}}}}`"
            )
        names.append(short)
        entries[short], places[short] = Entry(source=source), i
    return ByName({**data, "models": names}, entries, places, mistakes)


def short_name(source: FolderSource | GgufSource | HubSource) -> str:
    """Return the last part of a path or id, with what a name may not have replaced by `-`."""
    last = _last_part(source)
    return re.sub(r"[^\w.-]+", "-", last).strip("-._")[:NAME_LENGTH].rstrip("-._") or "model"


def _last_part(source: FolderSource | GgufSource | HubSource) -> str:
    if isinstance(source, FolderSource):
        return Path(os.path.abspath(source.folder)).name  # that of a link, not of where it leads
    return source.hub.split("/")[1] if isinstance(source, HubSource) else _PART.sub("", Path(source.gguf).stem)


def _key(source: FolderSource | GgufSource | HubSource) -> str:
    (key, value), *_ = source.model_dump().items()
    return f"{key}: {value}"
