"""What a person runs: `study run`, `study status` and the rest, each in a module of its own."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from study.version import __version__

COMMANDS = {
    "run": ("study.commands.run", "run what is missing of a study and write its report"),
    "status": ("study.commands.status", "say where a study stands"),
    "report": ("analysis.report", "write the report again from a study's rows"),
    "pack": ("analysis.data.packing", "put the rows of a study into a few small files"),
    "merge": ("study.commands.merge", "unite results of machines that never met"),
    "doctor": ("study.commands.doctor", "say what a study would run on, and what is missing"),
    "cluster": ("study.commands.cluster", "start a Ray cluster, join one, hand a study to one"),
    "architectures": ("study.commands.architectures", "try every architecture of mlx-lm"),
    "schemas": ("study.commands.schemas", "write what is made from the code: schemas, reference"),
}
"""The module of each command, which is imported when it is asked for, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of COMMANDS; returns its exit code, 2 where there is no such command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        run: Callable[[Sequence[str]], int] = import_module(COMMANDS[given[0]][0]).main
        return run(given[1:])
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {does}" for name, (_, does) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="study",
        usage="study COMMAND [OPTIONS]",
        description=f"commands:\n{listed}\n\n`study COMMAND --help` says more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"study {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    if given:
        parser.parse_args(given)
    parser.print_help()
    return 2
