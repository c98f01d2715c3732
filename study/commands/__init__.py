"""The commands: `study run`, `study status` and the others, each in a module of its own."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from study.version import __version__

COMMANDS = {
    "init": ("study.commands.init", "write a study to begin with, in which every part is explained"),
    "run": ("study.commands.run", "run what is missing of a study and write its report"),
    "status": ("study.commands.status", "say what of a study is done, running or failed, and why"),
    "list": ("study.commands.listing", "list the studies that have results, and what each answers"),
    "dashboard": ("study.commands.dashboard", "open Ray's dashboard of a run, with the token that it asks for"),
    "report": ("study.commands.report", "write the report again from the rows of a study"),
    "track": ("study.commands.track", "log curves and outcomes to TensorBoard, MLflow or W&B"),
    "compare": ("study.commands.compare", "say what differs between two studies or models, and how sure"),
    "pack": ("study.commands.pack", "pack the rows of a study into a few small files"),
    "merge": ("study.commands.merge", "unite results that were made on separate machines"),
    "predict": ("study.commands.predict", "foretell at which depth of a model a class could be read"),
    "lenses": ("study.commands.lenses", "say at which blocks of a model three lenses read a class"),
    "doctor": ("study.commands.doctor", "say what a study would run on, and what is missing"),
    "cluster": ("study.commands.cluster", "start a Ray cluster, join one, submit a study to one"),
    "agree": ("study.commands.agree", "compare mlx-lm, as the study loads it, with transformers"),
    "architectures": ("study.commands.architectures", "test every architecture of the installed mlx-lm"),
    "schemas": ("study.commands.schemas", "write what is made from the code: schemas, reference"),
}
"""The module of each command, which is imported when the command is run, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of COMMANDS; returns its exit code, 2 where there is no such command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        run: Callable[[Sequence[str]], int] = import_module(COMMANDS[given[0]][0]).main
        try:
            code = run(given[1:])
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # whatever reads the output, such as `head`, has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {does}" for name, (_, does) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="study",
        usage="study COMMAND [OPTIONS]",
        description=f"commands:\n{listed}\n\n`study COMMAND --help` describes the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"study {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    if given:
        parser.parse_args(given)
    parser.print_help()
    return 2
