"""Models by the names that users give: a short name of the catalogue, a folder, a GGUF file or a hub id."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from study.config.catalogue import Entry, WeightFormat
from study.config.mistakes import nearest
from study.models import ModelError
from study.models.load import Loaded, fetch, load, load_folder
from study.models.sources import source_named


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
    if source := source_named(name, Path()):
        return load_folder(fetch(Entry(source=source)), None, weights or "float32")
    raise ModelError(
        f"no model {name!r}: it is not a folder, a .gguf file, a hub id (owner/name) or a short name of "
        f"models.yaml{nearest(name, catalogue)} (known: {', '.join(catalogue) or 'none'})"
    )
