"""The manifest of a packed study: bytes and SHA-256 of its files, against which each is checked before any is read."""

from collections.abc import Iterable
from pathlib import Path

from study.config.json_files import read_json, seal, size_and_digest, unseal
from study.results.description import ResultsError
from study.results.files import write_json
from study.results.store import MANIFEST

UNFINISHED = "unfinished.json"
"""File in packed studies only: the state of the units that have no rows."""


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of the files of these names, which are all that a packed study holds."""
    files = {name: size_and_digest(folder / name) for name in sorted(names)}
    write_json(folder / MANIFEST, seal({"files": files}))


def check_manifest(folder: Path) -> None:
    """Check all files of a packed study. Raises ResultsError with every one that is missing, changed or not listed."""
    try:
        listed = unseal(read_json(folder / MANIFEST), ())["files"]
        there = visible(folder) - {MANIFEST}
        wrong = [
            *(f"{name} is missing" for name in sorted(listed.keys() - there)),
            *(f"{name} is not listed" for name in sorted(there - listed.keys())),
            *(
                f"{name} has changed"
                for name in sorted(there & listed.keys())
                if size_and_digest(folder / name) != listed[name]
            ),
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{folder} is a packed study, and its {MANIFEST} cannot be used: {error}; `study pack` makes it again"
        ) from error
    if wrong:
        raise ResultsError(
            f"{folder} is a packed study, and not what `study pack` wrote: {'; '.join(wrong)}. Nothing of it was read; "
            "`study pack` makes it again"
        )


def visible(folder: Path) -> set[str]:
    """Return the names in a folder, without those that begin with a dot."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
