"""Mutations of what the study reads: lines of YAML and JSON, values of JSON, bytes, files and folders."""

import copy
import json
import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

SPOILS = (
    *("", "-1", "0", "1e999", ".nan", "null", "true", "'x'", "[]", "{}", "[1, [2, {}]]", "2024-01-01", "!!binary aGk="),
    *("!!python/object/apply:os.system ['true']", "&a [*a]", "*b", "\t", "\0", "é" * 300, "9" * 400, "../../etc", "%x"),
    *("yes", "010", "1:30", "0x10", "1_000", "<<: {}", "!!set {a}", "=1+1", "<b>", "-", "~nosuchuser/x", "a/b", "NA"),
)
VALUES: tuple[Any, ...] = (
    None,
    math.nan,
    math.inf,
    True,
    -1,
    0,
    1,
    3,
    10**30,
    0.5,
    -0.0,
    1e308,
    "",
    "x",
    "3",
    "../../x",
    "é" * 300,
    [],
    [[]],
    {},
    {"a": 1},
)
WORDS = (
    *("", "-", "--", "-x", "nan", "inf", "1e999", "-1", "0", "99999999999999999999", "\n", "é", "\u202e", "a/b", ".."),
    *("/", "/dev/null", "~nosuchuser", "x" * 300, "=1+1", "layer=nan", "layer=1e999", "seed=-0", "id=%s", "model=*"),
)


def of_lines(text: str, rng: random.Random) -> str:
    """Return a right text with one to three of its lines changed."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        place = rng.randrange(len(lines))
        line, spoil = lines[place], rng.choice(SPOILS)
        key, colon, _ = line.partition(":")
        lines[place] = rng.choice(
            [
                f"{key}{colon} {spoil}",
                line + spoil,
                line.replace(" ", "", 1),
                f"  {line}",
                key[:-1] + colon + line[len(key) + 1 :],
                spoil,
                line + "\n" + line,
                "",
            ]
        )
        text = "\n".join(lines)
    return text


def of_json(text: str, rng: random.Random) -> str:
    """Return a right JSON document with one to three of its values replaced or removed."""
    content = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        place = content
        while isinstance(place, dict | list) and place:
            key: Any = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            inner = place[key]
            if not (isinstance(inner, dict | list) and inner) or rng.random() < 0.2:
                if rng.random() < 0.2:
                    del place[key]
                else:
                    place[key] = copy.deepcopy(rng.choice(VALUES))
                break
            place = inner
    return json.dumps(content)


def of_bytes(content: bytes, rng: random.Random, within: int | None = None) -> bytes:
    """Return bytes of which some, among the first `within`, are flipped, cut off, left out or repeated."""
    limit = min(len(content), within or len(content))
    if not limit:
        return b"x"
    start = rng.randrange(limit)
    end = min(len(content), start + rng.choice([1, 4, 64]))
    kind = rng.randrange(5)
    if kind == 0:
        return content[:start]
    if kind == 1:
        return content[:start] + content[end:]
    if kind == 2:
        return content[:end] + content[start:]
    if kind == 3:
        return content[:start] + rng.randbytes(end - start) + content[end:]
    return content[:start] + bytes([content[start] ^ (1 << rng.randrange(8))]) + content[start + 1 :]


def of_tree(root: Path, rng: random.Random) -> None:
    """Change one file or folder below `root`, as a failing disk, a broken copy or a careless hand would."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    folders = sorted(path for path in root.rglob("*") if path.is_dir())
    file = rng.choice(files)
    kind = rng.randrange(9)
    if kind <= 3:
        content = file.read_bytes()
        text = file.suffix == ".json" and kind == 3
        file.write_bytes(of_json(content.decode(), rng).encode() if text else of_bytes(content, rng))
    elif kind == 4:
        file.unlink()
        _replace(file, rng)
    elif kind == 5:
        same = [other for other in files if other.name == file.name and other != file]
        shutil.copyfile(rng.choice(same or files), root / "moved")
        (root / "moved").replace(file)
    elif kind == 6:
        folder = rng.choice(folders)
        shutil.rmtree(folder)
        _replace(folder, rng)
    else:
        beside = [one for one in folders if one.parent != root] or folders
        one, other = rng.choice(beside), rng.choice(beside)
        if one not in (other, *other.parents) and other not in one.parents:
            shutil.rmtree(other)
            shutil.copytree(one, other)
            if kind == 8:
                shutil.rmtree(one)


def _replace(path: Path, rng: random.Random) -> None:
    """Put nothing, a file, a folder, a pipe, or a link that leads nowhere in the place of what was there."""
    kind = rng.randrange(6)
    if kind == 5:
        os.mkfifo(path)
    elif kind == 0:
        path.mkdir()
    elif kind == 1:
        path.write_text("x")
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to("/nowhere")
