"""`study compare A B`: what changed between two studies, or differs between two models of one, and how sure that is."""

import argparse
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from study.commands import arguments as given
from study.results.description import ResultsError

if TYPE_CHECKING:
    from analysis.comparing import Found

WIDTH = 80
MOST_LINES = 10
"""Lines on what differs, and on what is left out, that the terminal shows."""
MOST_MODELS = 3
"""Models that it names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 where units are unreadable and left out, 2 where there is nothing to
    compare."""
    options = _parser().parse_args(arguments)
    from analysis.comparing import compare_studies, write_comparison
    from analysis.data.markdown import one_line

    try:
        found = compare_studies(options.a, options.b, options.models)
        if options.out:
            write_comparison(found, options.out)
    except (ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    written = options.out and f"{options.out}, {options.out.with_suffix('.html')}, {options.out.with_suffix('')}/"
    try:
        print("\n".join(map(one_line, [*_told(found), *(["", written] if written else [])])), flush=True)
    except BrokenPipeError:  # what reads it has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for one in found.unreadable:
        print(f"left out: {one}", file=sys.stderr)
    return 1 if found.unreadable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="study compare",
        description="Say what changed between two studies, or differs between two models of one, and how sure that is. "
        "Needs neither MLX nor Ray.",
    )
    parser.add_argument(
        "a", type=given.some_path, metavar="A", help="results folder or packed study, such as results/smoke"
    )
    parser.add_argument(
        "b", type=given.some_path, nargs="?", metavar="B", help="the same of another study; left out for two models"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        action=_Models,
        default=[],
        metavar="MODEL",
        help="two models: the first of A, the second of B, or both of A; one: of both",
    )
    parser.add_argument(
        "--out",
        type=given.some_path,
        metavar="FILE.md",
        help="write a report too; an HTML page and a folder with the figure and tables are written beside it",
    )
    return parser


class _Models(argparse.Action):
    """One or two names; more, such as a folder behind them, are a mistake of usage."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, *_: object
    ) -> None:
        if len(names := list(values) if isinstance(values, list) else []) > 2:
            parser.error(f"--models takes one or two names, not {len(names)}: write it behind the folders")
        namespace.models = names


def _told(found: "Found") -> Iterator[str]:
    """The lines of the terminal."""
    from analysis.data.matching import BOTH
    from analysis.text import comparison as text

    matched, main = found.matched, found.main
    yield from textwrap.wrap(found.sentence, WIDTH)
    yield ""
    for side in (matched.a, matched.b):
        models = ", ".join(side.models) if len(side.models) <= MOST_MODELS else f"{len(side.models)} models"
        yield from textwrap.wrap(f"{side.letter}  {side.folder}: {models}; {text.finished(side)}", WIDTH)
    yield ""
    yield from _differing(found)
    if len(main):
        yield from _differences(found)
        confidence = matched.a.results.decisions.confidence
        yield from textwrap.wrap(text.reading(found.comparison, confidence), WIDTH)
        yield ""
    yield from _listed("shared", text.shared(matched, found.rows, found.comparison))
    left_out = [
        f"{count} {'pairs' if side == BOTH else f'of {side}'}: {reason}"
        for side, count, reason in text.left_out_rows(found.left_out)
    ]
    yield from _listed("left out", left_out or ["nothing"])


def _differing(found: "Found") -> Iterator[str]:
    """What differs, as a table."""
    rows = found.differs.to_dict("records")
    if not rows:
        yield from ("differs: nothing in settings, seeds, models, versions and machine", "")
        return
    shown = rows[:MOST_LINES]
    name = min(30, max(len("differs"), *(len(str(row["name"])) for row in shown)))
    width = (WIDTH - name - 4) // 2
    yield f"{'differs':{name}}  {'A':{width}}  B"
    for row in shown:
        own, other = (_cut(str(row[side]), width) for side in "ab")
        yield f"{_cut(str(row['name']), name):{name}}  {own:{width}}  {other}"
    if len(rows) > len(shown):
        yield f"and {len(rows) - len(shown)} more, which --out lists"
    yield ""


def _differences(found: "Found") -> Iterator[str]:
    """The main differences, as a table."""
    from analysis.text import comparison as text

    line = "{:16} {:>5}  {:>5}  {:23} {:>5}  {}"
    yield line.format("", "A", "B", "B - A", "seeds", "").rstrip()
    before = ""
    for *about, tier, a, b, difference, seeds, verdict in text.difference_table(found.main)[1]:
        if (heading := ", ".join(about)) != before:
            yield _cut(heading, WIDTH)
            before = heading
        yield line.format(f"  {_cut(tier, 14)}", a, b, difference, seeds, verdict).rstrip()
    yield ""


def _listed(name: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines below a name, as many as are shown."""
    yield name
    for line in lines[:MOST_LINES]:
        yield from textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    if len(lines) > MOST_LINES:
        yield f"  and {len(lines) - MOST_LINES} more, which --out lists"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
