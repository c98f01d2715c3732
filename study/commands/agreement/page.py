"""The text of docs/agreement.md."""

import json
from collections.abc import Iterable, Mapping, Sequence

from study.commands.agreement.compare import SAME, Difference
from study.commands.agreement.rows import Row

PAGE = """# Agreement of mlx-lm and transformers

The gates of a study compare it with the model as mlx-lm computes it. This page compares that with the model as
transformers computes it: {versions}. `study agree` makes it.

transformers makes a tiny model of each architecture, with 4 blocks of width 160, a rotary base of 500,000, and
multipliers, caps and windows that differ from their defaults; draws all its weights at random, those of norms and
biases too; and saves it. Both libraries compute it in float32 on the CPU, for texts of 12 and of 40 tokens; sliding
windows are 16 tokens wide. Compared are the logits at every position, and those of the logit lens at every block.
Sizes are the largest difference over the standard deviation of transformers' logits. Both agree where it is at most
{same}.

*mlx-lm* is given the rotary base and other keys as published models have them. *The study* is given the folder as
transformers 5 saved it, in which the rotary base is part of `rope_parameters`, a key that most classes of mlx-lm do
not read.

{agree} of {all} models agree, {differ} differ, and mlx-lm does not load {refused}.

## Differ

*From* is the first position and block that differ, counted from 0: position 0 is a matter of the blocks themselves, 1
of rotary positions, 16 of the window.

| model | 12 tokens | 40 tokens | from | the study |
|---|---|---|---|---|
{differing}

Each cause was tried: with the one thing changed in transformers, both agree.

| model | cause | faithful to its authors | changed in transformers | then |
|---|---|---|---|---|
{causes}

## Agree

| model | 12 tokens | 40 tokens | the study |
|---|---|---|---|
{agreeing}

## Not loaded by mlx-lm

| model | why | the study |
|---|---|---|
{missing}
{real}{failed}"""

REAL = """
## Models of the study

The models of which the reports in this repository tell, with their published weights, at every position of
"{text}".

| model | difference | from | cause | the study |
|---|---|---|---|---|
{rows}
"""
FAILED = """
## Not made by transformers

| model | why |
|---|---|
{rows}
"""
LONGEST = 160
"""Characters of a message that are shown."""


def document(rows: Sequence[Row], real: Sequence[Row], versions: Mapping[str, str], text: str) -> str:
    """Return the page; `real` are rows of models with published weights, for one text."""
    made = [row for row in rows if not row.failed]
    differing, agreeing = [row for row in made if row.differs], [row for row in made if row.agrees]
    missing = [row for row in made if row.mlx_lm.refused]
    failed = [row for row in rows if row.failed]
    return PAGE.format(
        versions=", ".join(f"{name} {number}" for name, number in versions.items()),
        same=f"{SAME:g}",
        agree=len(agreeing),
        all=len(made),
        differ=len(differing),
        refused=len(missing),
        differing=_table([row.title, *_sizes(row), _start(row), row.does] for row in differing),
        causes=_table(_cause(row) for row in differing),
        agreeing=_table([row.title, *_sizes(row), row.does] for row in agreeing),
        missing=_table([row.title, _short(row.mlx_lm.refused), row.does] for row in missing),
        real=_real(real, text) if real else "",
        failed=FAILED.format(rows=_table([row.title, _short(row.failed)] for row in failed)) if failed else "",
    )


def line(row: Row) -> str:
    """Return what is printed of a row."""
    found = row.failed or row.mlx_lm.refused or f"{' / '.join(_sizes(row))}, the study {row.does}"
    return f"{row.title}: {row.mistake + ': ' if row.mistake else ''}{_short(found)}"


def _real(rows: Sequence[Row], text: str) -> str:
    cells = ([row.title, *_sizes(row), _start(row), row.cause.what if row.cause else "-", row.does] for row in rows)
    return REAL.format(text=text, rows=_table(cells))


def _cause(row: Row) -> list[str]:
    if row.cause is None or row.changed is None:
        return [row.title, "unexplained", "-", "-", "-"]
    change = row.cause.changed
    told = [f"`{key}`: {_value(value)}" for key, value in change.get("config", {}).items()]
    told += [change["substitution"]] if "substitution" in change else []
    return [row.title, row.cause.what, row.cause.faithful, "; ".join(told), _size(max(row.changed.sizes))]


def _value(value: object) -> str:
    return "as mlx-lm computes it" if isinstance(value, dict) else f"`{json.dumps(value)}`"


def _sizes(row: Row) -> list[str]:
    difference = row.mlx_lm.difference
    return [_size(size) for size in difference.sizes] if difference else []


def _size(size: float) -> str:
    return f"{size:.0e}".replace("e-0", "e-") if size <= 10 * SAME else f"{size:.2g}"


def _start(row: Row) -> str:
    difference = row.mlx_lm.difference
    return "-" if difference is None or difference.agrees else _where(difference)


def _where(difference: Difference) -> str:
    block = "" if difference.block is None else f", block {difference.block}"
    return f"position {difference.position}{block}"


def _short(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[:LONGEST].rstrip()} …"


def _table(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |" for row in rows)
