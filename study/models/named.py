"""A model by what a user calls it: a short name of a catalogue, a folder, a GGUF file or a hub id."""

import re
from collections.abc import Mapping
from pathlib import Path

from study.config.catalogue import FolderSource, GgufSource, HubSource, Model, Source
from study.config.mistakes import nearest
from study.models import ModelError
from study.models.load import Loaded, fetch, load, load_folder

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def load_named(name: str, catalogue: Mapping[str, Model], weights: str = "float32") -> Loaded:
    """The model called `name`: looked for in the catalogue, then on the disk, then on the Hugging Face hub.

    `weights` is how they are held where the catalogue does not say: `float32`, `8bit` or `4bit`. Raises ModelError,
    which names short names that are near, where there is no such model or it cannot be loaded.
    """
    if name in catalogue:
        return load(catalogue[name])
    # The number of blocks is checked where an entry says it; here the model itself does.
    return load_folder(fetch(Model(source=_source(name, catalogue), blocks=1)), None, weights)


def _source(name: str, catalogue: Mapping[str, Model]) -> Source:
    place = Path(name).expanduser()
    if place.is_dir():
        return FolderSource(folder=str(place))
    if place.is_file() and place.suffix == ".gguf":
        return GgufSource(gguf=str(place))
    if HUB_ID.fullmatch(name) and not place.exists():
        return HubSource(hub=name)
    raise ModelError(
        f"no model {name!r}: it is no folder, no .gguf file and no hub id (owner/name), and no short name of "
        f"models.yaml{nearest(name, catalogue)} (known: {', '.join(catalogue) or 'none'})"
    )
