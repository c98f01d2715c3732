"""Tables on terminals of several widths, and in pipes."""

import io

import pytest
from rich.console import Console

from study.commands.tables import show_table
from study.results.terminal import own_console

COLUMNS = ("model", "licence", "needs", "time")
ROWS = [("smollm2-135m", "Apache-2.0", "2.7 GB", "42 min"), ("llama[3]-1b", "Llama 3.2 community licence", "9 GB", "?")]
WHOLE = 57


def shown(width: int) -> list[str]:
    out = io.StringIO()
    show_table(Console(file=out, width=width), COLUMNS, ROWS, ("licence", "needs"), "a pipe: | cat")
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [WHOLE, 80, 10_000])
def test_a_table_that_fits_is_whole(width: int) -> None:
    lines = shown(width)
    assert lines[0].split() == list(COLUMNS)
    assert [line.split("  ")[0] for line in lines[1:]] == ["smollm2-135m", "llama[3]-1b"]
    assert len(lines) == 3


def test_a_narrow_one_leaves_out_the_least_important_columns_and_says_where_they_are() -> None:
    lines = shown(WHOLE - 1)
    assert lines[0].split() == ["model", "needs", "time"]
    assert " ".join(lines[3:]) == f"not shown: licence (a window of {WHOLE} columns shows them, or a pipe: | cat)"
    lines = shown(24)
    assert lines[0].split() == ["model", "time"]
    assert " ".join(lines[3:]).startswith("not shown: licence, needs (a window")
    assert max(map(len, lines)) <= 24


def test_where_there_is_no_more_to_leave_out_nothing_is_lost() -> None:
    lines = shown(14)
    assert max(map(len, lines)) <= 14
    text = "".join(line.replace(" ", "") for line in lines)
    assert "42" in text
    assert "…" not in text


def test_a_pipe_has_lines_of_any_length(capsys: pytest.CaptureFixture[str]) -> None:
    own_console().print("word " * 1000, markup=False)
    assert len(capsys.readouterr().out.splitlines()) == 1
