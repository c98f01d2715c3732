"""Parcels: the results of a unit as bytes, which travel between machines that share no folder."""

import shutil
from dataclasses import dataclass, field
from typing import Any

from study.config.units import Unit, folder_name, kind
from study.results.description import read_record
from study.results.files import write_bytes
from study.results.finished import DONE, DamagedError, verify
from study.results.store import LOG_SUFFIX, Store


@dataclass(frozen=True)
class Parcel:
    """A finished unit's files by name, or the record of the reason why it did not finish."""

    files: dict[str, bytes] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    log: bytes = b""
    """Log of the attempt that did not finish."""


def pack(store: Store, unit: Unit) -> Parcel:
    """Return the parcel of a unit's results in `store`.

    Raises DamagedError where they are damaged, ResultsError where the record of the reason is.
    """
    if store.is_done(unit):
        return Parcel({file.name: file.read_bytes() for file in sorted(store.verified(unit).iterdir())})
    record = store.record_file(folder_name(unit))
    log = record.with_suffix(LOG_SUFFIX)
    return Parcel(
        record=read_record(record) or {},
        log=log.read_bytes() if log.is_file() else b"",
    )


def unpack(parcel: Parcel, store: Store, unit: Unit) -> None:
    """Publish a parcel in another store; a result that is already there stays, unless it is damaged.

    Raises DamagedError where the parcel did not arrive as it was sent, or a file's name contains a path.
    """
    if parcel.record:
        store.record(unit, parcel.record["status"], parcel.record["reason"], parcel.record["detail"])
    if parcel.log:
        write_bytes(store.record_file(folder_name(unit)).with_suffix(LOG_SUFFIX), parcel.log)
    if DONE not in parcel.files:
        return
    store.set_aside(kind(unit), folder_name(unit), thorough=True)
    if store.is_done(unit):
        return
    folder = store.begin(unit)
    try:
        for name, content in parcel.files.items():
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise DamagedError(f"{name!r} is not the name of a file in a unit's folder")
            (folder / name).write_bytes(content)
        verify(folder, kind(unit), unit.id)
        store.put(folder, kind(unit), folder_name(unit))
    finally:
        store.abandon(folder)


def remove(store: Store, unit: Unit) -> None:
    """Remove the unit's results from a store, once its parcel was published in another."""
    store.forget_failure(unit)
    shutil.rmtree(store.folder(unit), ignore_errors=True)
