"""What is stored about a study beside rows: `study.json`, and the records of units that did not finish."""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from study.config.json_files import read_json, seal, shortest, unseal
from study.config.text import check_name
from study.config.units import Kind, Unit, describe, origin, shown_name
from study.results.files import remove, write_json
from study.results.finished import unit_id

REPORT_TITLE = "# Where can a classifier be trained into a language model"
"""First line of every report, which tells one from other files."""
COMPARISON_TITLE = "# What changed from A to B, and how sure is that?"
"""First line of every comparison of two studies."""
KIND_NAMES: tuple[str, ...] = get_args(Kind)
DESCRIPTION = "study.json"
DESCRIPTION_KEYS = ("name", "config", "models", "units")
RECORD_KEYS = ("status", "reason", "detail", "label", "kind", "id")
"""Keys of `study.json` and of records, which were the same before these had seals."""


class ResultsError(Exception):
    """The folder does not have the results that are requested."""


def is_report(file: Path, title: str = REPORT_TITLE) -> bool:
    """Whether a file is empty or begins as reports of this title do; one that cannot be read is somebody else's."""
    try:
        with file.open("rb") as content:
            start = content.read(len(title))
    except OSError:
        return False
    return not start or start == title.encode()


def check_root(root: Path) -> None:
    """Check that a path can be a folder of results, whether it exists or not. Raises ResultsError otherwise."""
    try:
        if not stat.S_ISDIR(root.stat().st_mode):
            raise ResultsError(f"{root} is not a folder: give the results folder of one study, such as results/smoke")
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ResultsError(f"{root} lies under a file: give a folder, such as results/smoke") from None
    except OSError as error:
        raise ResultsError(f"{root} cannot be a results folder: {error.strerror}") from error
    except ValueError:
        raise ResultsError(f"{str(root)!r} cannot be a results folder: it is not a path") from None


def read_description(root: Path) -> dict[str, Any]:
    """Return `study.json` of a results folder. Raises ResultsError where it is missing, damaged or of another form."""
    check_root(root)
    file = shortest(root / DESCRIPTION)
    try:
        study = unseal(read_json(file), DESCRIPTION_KEYS)
        _ = study["name"].strip(), study["config"].keys()
        for name in study["models"]:
            check_name(name)
        for unit in study["units"]:
            for name in (unit["model"], *unit["operations"], *unit.get("tiers", ()), *(unit["wordings"] or ())):
                check_name(name)
            _ = unit["id"], unit["label"], unit["stage1"], KIND_NAMES.index(unit["kind"])
            if Path(unit["folder"]).name != unit["folder"]:
                raise ValueError(f"{unit['folder']} is not the name of a folder")
            if unit_id(unit["folder"]) != unit["id"]:
                raise ValueError(f"{unit['folder']} is not the folder of the unit {unit['id']}")
    except FileNotFoundError:
        raise ResultsError(f"{root} holds no study.json: give the folder of one study, such as results/grid") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{file} is not a study's description: {type(error).__name__}: {error}; "
            "python -m study.grid with the study's configuration writes it again"
        ) from error
    return study


def write_description(
    root: Path, name: str, config: Mapping[str, Any], models: Mapping[str, Any], units: Sequence[Unit]
) -> None:
    """Write `study.json`, the description of the study that reports and `study status` read.

    Where local files lie is left out: their names and the digests of what is in them stay.
    """
    config = {**config, "data": _named(config["data"], "file", "dataset")}
    models = {key: {**model, "source": _named(model["source"], "folder", "gguf")} for key, model in models.items()}
    shown = {shown_name(unit): origin(unit).model_name for unit in units}
    models = {**models, **{name: models[own] for name, own in shown.items() if own in models}}
    content = {"name": name, "config": config, "models": models, "units": [described(unit) for unit in units]}
    write_json(root / DESCRIPTION, seal(content))


def described(unit: Unit) -> dict[str, Any]:
    """Return the description of a unit without the folders of local files."""
    description = describe(unit)
    settings = description["settings"]
    return {**description, "settings": {**settings, "data": _named(settings["data"], "file", "dataset")}}


def read_record(file: Path) -> dict[str, Any] | None:
    """Return the record why a unit did not finish; None where there is none. Raises ResultsError where it is damaged
    or of another unit."""
    try:
        record = unseal(read_json(file), RECORD_KEYS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsError(error.strerror or "it cannot be read") from error
    except ValueError as error:
        raise ResultsError(f"{error}") from error
    if record.get("status") not in ("failed", "skipped") or not isinstance(record.get("reason"), str):
        raise ResultsError("it has no status or no reason")
    if record.get("kind") not in KIND_NAMES or record.get("id") != unit_id(file.stem):
        raise ResultsError("it is of another unit")
    return record


def write_record(file: Path, record: Mapping[str, Any]) -> None:
    """Write the record why a unit did not finish. Raises UnwritableError."""
    if file.is_dir():
        remove(file)
    write_json(file, seal(record))


def _named(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the settings with the names alone of the files and folders whose paths are absolute."""
    paths = {key: Path(settings[key]) for key in keys if settings.get(key)}
    return {**settings, **{key: path.name for key, path in paths.items() if path.is_absolute()}}
