"""Files that are written whole or not at all."""

import errno
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.results.schema import check_rows
from study.results.values import check_values

REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable or name another folder"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT), "name another place"),
}


class UnwritableError(OSError):
    """A path cannot be written; the message has the path, the reason and the remedy."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}; {REMEDIES[self.errno or errno.ENOSPC]}"


def write_json(file: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all.

    Raises UnwritableError, and ValueError where it holds a number that is not finite.
    """
    write_bytes(file, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: under a temporary name, synced to the disk, then renamed.

    Raises UnwritableError.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the table that the file is named after, as Parquet, whole or not at all.

    Raises ValueError where their columns are not those that the table declares, FigureError where a value is missing or
    not finite, UnwritableError.
    """
    check_rows(file.stem, rows)
    import pyarrow.parquet as pq  # here: status and dry runs need none of it, and would wait for it longest

    table = pa.Table.from_pylist([dict(row) for row in rows])
    check_values(file.stem, table)
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    write_bytes(file, stream.getvalue())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the context, errors of a full or read-only file system are raised as UnwritableError with `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES or isinstance(error, UnwritableError):
            raise
        raise UnwritableError(error.errno, error.strerror, str(path)) from error


def remove(path: Path) -> None:
    """Remove a file, or a folder that stands in its place; nothing where there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def quiet(path: Path) -> float:
    """Return for how many seconds a file, or a folder and the files in it, was not written, or how many it is dated in
    the future; 0 if it is gone."""
    try:
        return abs(time.time() - max(one.lstat().st_mtime for one in [path, *path.glob("*")]))
    except FileNotFoundError:
        return 0.0


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
