"""Models by the names that users give: a short name of the catalogue, a folder, a GGUF file or a hub id."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from study.config.catalogue import Entry, FolderSource, GgufSource, HubSource, Source, WeightFormat, is_hub_id
from study.config.mistakes import nearest
from study.models import ModelError
from study.models.load import Loaded, fetch, load, load_folder


def load_named(name: str, catalogue: Mapping[str, Entry], weights: WeightFormat | None = None) -> Loaded:
    """Load the model called `name`: of the catalogue, else of the disk, else of the Hugging Face hub.

    `weights` is how its weights are kept in memory; as its entry says, or in float32, if left out. Raises ModelError,
    with the nearest short name, where there is no such model, or it cannot be loaded.
    """
    if weights not in (None, *get_args(WeightFormat)):
        raise ModelError(f"weights {weights!r} are not known: {', '.join(get_args(WeightFormat))} are allowed")
    if name in catalogue:
        entry = catalogue[name]
        return load(entry.model_copy(update={"weights": weights or entry.weights}))
    return load_folder(fetch(Entry(source=_source(name, catalogue))), None, weights or "float32")


def _source(name: str, catalogue: Mapping[str, Entry]) -> Source:
    place = Path(name).expanduser()
    if place.is_dir():
        return FolderSource(folder=str(place))
    if place.is_file() and place.suffix == ".gguf":
        return GgufSource(gguf=str(place))
    if is_hub_id(name) and not place.exists():
        return HubSource(hub=name)
    raise ModelError(
        f"no model {name!r}: it is not a folder, a .gguf file, a hub id (owner/name) or a short name of "
        f"models.yaml{nearest(name, catalogue)} (known: {', '.join(catalogue) or 'none'})"
    )
