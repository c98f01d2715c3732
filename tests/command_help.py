"""The help of every command, as a terminal of 80 columns shows it."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from unittest.mock import patch

from study.commands import COMMANDS, main

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


@cache
def help_of(*words: str) -> str:
    """What `study WORDS --help` prints."""
    out = io.StringIO()
    with patch.dict("os.environ", {"COLUMNS": "80"}), redirect_stdout(out):
        try:
            code = main([*words, "--help"])
        except SystemExit as ended:
            code = int(ended.code or 0)
    assert code == 0, words
    return out.getvalue()


@cache
def subcommands(command: str) -> Sequence[str]:
    """The commands of a command, such as `head` of `cluster`; none of most."""
    found = re.search(r"^usage: .*\{([\w,]+)\}", help_of(command))
    return found[1].split(",") if found else []


def every_command() -> list[tuple[str, ...]]:
    """Each command and each command of a command, as its words; first the program itself, which has none."""
    pairs = [(command, name) for command in COMMANDS for name in subcommands(command)]
    return [(), *((command,) for command in COMMANDS), *pairs]


def options_of(*words: str) -> set[str]:
    """The long options of a command."""
    return set(OPTION.findall(help_of(*words)))
