"""Arguments that commands share, and values that are checked as they are read: a wrong one is one message."""

import argparse
import os
import re
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from study.config.catalogue import WeightFormat
from study.results.description import is_report

HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|\[?[0-9A-Fa-f:]{2,39}\]?")
"""The name of a machine, or its IPv4 or IPv6 address."""
PORTS = range(1, 65536)
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""A variable that Ray sets for the program of a job."""


def host(text: str) -> str:
    """Return the text. Raises ArgumentTypeError where it cannot be the name or the address of a machine."""
    if not HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no name or address of a machine, such as 192.168.1.10")
    return text


def port(text: str) -> int:
    """Return the number. Raises ArgumentTypeError where it is none of a port."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) not in PORTS:
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no port: give a whole number from 1 to {PORTS[-1]}")
    return int(text)


def address(text: str) -> str:
    """Return the text. Raises ArgumentTypeError where it is not HOST:PORT."""
    name, _, number = text.rpartition(":")
    try:
        host(name), port(number)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} must be HOST:PORT, as `study cluster head` prints it, such as 192.168.1.10:6379"
        ) from None
    return text


def cluster(text: str) -> str:
    """Return the text: HOST:PORT, or `auto` in a job of a cluster. Raises ArgumentTypeError where it is neither."""
    return text if text == "auto" and IN_A_JOB in os.environ else address(text)


def url(text: str) -> str:
    """Return the text. Raises ArgumentTypeError where it is not the address of a dashboard, with host and port."""
    try:
        parts = urlsplit(text)  # which leaves line breaks out
        if (
            not text.isprintable()
            or parts.scheme not in ("http", "https")
            or parts.path.strip("/")
            or parts.query
            or parts.fragment
        ):
            raise ValueError
        host(parts.hostname or ""), port(str(parts.port or 80))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} is no address of a dashboard, such as http://127.0.0.1:8265"
        ) from None
    return text


def some_path(text: str) -> Path:
    """Return the path, whatever it is. Raises ArgumentTypeError where the text is empty, which is the current folder to
    pathlib, and to a user a variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("is empty: name a folder")
    return Path(text)


def path(text: str) -> Path:
    """Return the path. Raises ArgumentTypeError where no file or folder can have it."""
    try:
        if not text or not text.isprintable() or any(len(part.encode()) > 255 for part in Path(text).resolve().parts):
            raise ValueError
    except (OSError, RuntimeError, ValueError):  # the second of links that lead to each other
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no path of a file or folder") from None
    return Path(text)


def folder(text: str) -> Path:
    """Return the path. Raises ArgumentTypeError where no folder can be there, since a file is or lies above it."""
    found = path(text)
    for place in (found, *found.absolute().parents):
        if place.exists():
            if not place.is_dir():
                raise argparse.ArgumentTypeError(f"{place} is a file: name a folder")
            break
    return found


def report(text: str) -> Path:
    """Return the path. Raises ArgumentTypeError where it cannot be that of a report, or is that of another text."""
    found = path(text)
    if found.suffix != ".md" or found.is_dir():
        raise argparse.ArgumentTypeError(f"{found} is no Markdown file: name one, such as reports/grid.md")
    if found.is_file() and not is_report(found):
        raise argparse.ArgumentTypeError(f"{found} is there, and is no report of a study: name another file")
    folder(str(found.parent))
    folder(str(found.with_suffix("")))  # that of its figures and tables
    return found


def add_model_and_study(parser: argparse.ArgumentParser, prompt_count: int) -> None:
    """Add the arguments of a command that measures a model as it is: the model, how it is kept, and what it is asked,
    by default `prompt_count` prompts of each operation in each wording."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="short name of models.yaml, folder, GGUF file or id on the Hugging Face hub",
    )
    parser.add_argument(
        "--study",
        type=path,
        metavar="FILE",
        help="a study whose prompts and class tokens are asked for (default: arithmetic, multiply or add)",
    )
    parser.add_argument("--models", type=path, metavar="FILE", help="the models.yaml to look in")
    parser.add_argument("--weights", choices=get_args(WeightFormat), help="how weights are kept in memory")
    parser.add_argument(
        "--prompts",
        type=prompts,
        default=prompt_count,
        metavar="N",
        help=f"held-out prompts of each operation in each wording (default: {prompt_count})",
    )


def prompts(text: str) -> int:
    """Return the number. Raises ArgumentTypeError where it is no number of prompts that intervals can be told from."""
    if not text.isdecimal() or not 4 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no whole number from 4 to 1000")
    return int(text)


def _shown(text: str) -> str:
    """Return the text as a message can show it."""
    return ascii(text)[:100]
