"""What a terminal shows: lines that fit, and a picture that leaves nothing behind; in a real terminal, tmux."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.results.running import Process
from study.results.terminal import MARGIN, bar, what_runs

DRAW = """
import sys, time
from pathlib import Path
from rich.console import Group
from study.results.running import Process
from study.results.terminal import bar, clear_interrupt, own_console, pictures, what_runs
console, asked = own_console(), Path(sys.argv[1])
for line in range(10):
    print("line", line)
try:
    with pictures(console, stays=False) as picture:
        for step in range(10_000):
            running = [Process("mac", pid, ["a"], f"llama|L{pid}|river-copper|w=0.5|s0", f"stage 2 {step}/9000",
                               "loss 2.315, class loss 11.200", None, time.time()) for pid in range(3)]
            picture.show(lambda: Group(bar(5, 24, "27 s left", console.width),
                                       *what_runs(running, console.width, console.height - 2, "study status")))
            if step == 0:
                picture.say("a message")
            asked.unlink(missing_ok=True)
            while not asked.exists():
                time.sleep(0.05)
except KeyboardInterrupt:
    clear_interrupt(console)
    print("ended")
    time.sleep(600)
"""
PATIENCE_SECONDS = 120.0


def processes(count: int, label: str = "smollm2-135m|L25|river-copper|w=0.2|s0 and 3 more") -> list[Process]:
    losses = "loss 12.315, class loss 11.200"
    return [Process("mac", pid, ["a"], label, "stage 2 1200/2000", losses, None, 0.0) for pid in range(count)]


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_what_runs_fits_the_window(width: int, count: int) -> None:
    lines = [line.plain for line in what_runs(processes(count), width, 21, "study status results/demo")]
    assert max([0, *map(len, lines)]) <= width - MARGIN
    assert len(lines) <= 21
    whole = sum("1200/2000" in line and "class loss 11.200" in line for line in lines)
    if width >= 80 and count < 40:
        assert whole == count
        assert len(lines) == (count if width >= 120 else 2 * count)
    elif width >= 80:
        assert whole == (20 if width >= 120 else 10)
        assert lines[-1] == f"and {40 - whole} more: study status results/demo"


@pytest.mark.parametrize("width", [10, 40, 80, 120])
@pytest.mark.parametrize(("ended", "units"), [(0, 0), (0, 24), (5, 24), (24, 24), (99_999, 100_000)])
def test_a_bar_fits_in_one_line_and_is_as_full_as_the_study(width: int, ended: int, units: int) -> None:
    line = bar(ended, units, "time left: not known yet", width)
    assert len(line.plain) <= width - MARGIN
    if width >= 80:
        assert line.plain.endswith(f"  {ended} of {units} units · time left: not known yet")
        full = sum(span.end - span.start for span in line.spans if span.style == "bar.complete")
        assert full == line.plain.count("━") * ended // max(1, units)


class Window:
    """A terminal with a program in it."""

    def __init__(self, name: str, columns: int, rows: int, command: list[str]) -> None:
        self._tmux = ["tmux", "-L", name, "-f", "/dev/null"]
        size = ["-x", str(columns), "-y", str(rows)]
        self._do("new-session", "-d", *size, "--", "env", "-u", "COLUMNS", "-u", "LINES", *command)

    def _do(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True).stdout

    def lines(self) -> list[str]:
        """Return the lines on the screen and those that were scrolled off it, without empty ones."""
        return [line for line in self._do("capture-pane", "-p", "-S", "-").splitlines() if line.strip()]

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, and wait until the program can see it."""
        self._do("resize-window", "-x", str(columns), "-y", str(rows))
        terminal = os.open(self._do("display-message", "-p", "#{pane_tty}").strip(), os.O_RDONLY | os.O_NOCTTY)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while os.get_terminal_size(terminal) != (columns, rows):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.close(terminal)

    def press(self, key: str) -> None:
        self._do("send-keys", key)

    def wait_for(self, shown: Callable[[list[str]], bool]) -> list[str]:
        """Return the lines as soon as they are as wanted; they have to become so within PATIENCE_SECONDS."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not shown(lines := self.lines()):
            assert time.monotonic() < deadline, "\n".join(lines)
            time.sleep(0.1)
        return lines

    def close(self) -> None:
        self._do("kill-server")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    opened = Window(f"study-{tmp_path.name}", 110, 24, [sys.executable, "-c", DRAW, str(tmp_path / "asked")])
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not on the path")
def test_in_a_terminal_a_picture_stands_once_while_its_window_narrows_and_is_gone_after_ctrl_c(
    window: Window, tmp_path: Path
) -> None:
    """It is drawn again when the window has its new width: what is drawn in the very moment in which that changes would
    stay."""
    above = [*(f"line {line}" for line in range(10)), "a message"]
    for columns in (110, 80, 60, 40, 100, 50):
        window.resize(columns, 24)
        rows = 4 if columns >= 100 else 7  # the label of each above its step and losses
        bar = {110: 40, 100: 40, 80: 40, 60: 30, 40: 10, 50: 20}[columns]
        wanted = [*above, f"{'━' * bar}  5 of 24 units · 27 s left"]
        window.wait_for(lambda lines: "a message" in lines)
        (tmp_path / "asked").touch()
        window.wait_for(lambda lines: not (tmp_path / "asked").exists())
        window.wait_for(lambda lines, wanted=wanted, rows=rows: lines[:12] == wanted and len(lines) == 11 + rows)
    window.press("C-c")
    window.wait_for(lambda lines: lines == [*above, "ended"])
