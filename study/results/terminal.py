"""What a terminal shows of a study: a picture that is drawn again and again, and what runs, in lines that fit."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

from study.results.running import Process

MARGIN = 3
"""Columns at the right that stay free, since a terminal writes `^C` where the picture ends."""
DETAIL = 52
"""Columns in which the step and the losses of a unit stand beside its label; where there are fewer, below it."""
BAR = 40
"""Columns of a bar, where there are as many."""
LEAST_BAR = 5
CLEAR_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


def own_console() -> Console:
    """Return the console of standard output: as wide as the terminal or, where there is none, with lines of any
    length."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def clear_interrupt(console: Console) -> None:
    """Erase the `^C` that a terminal has written."""
    console.control(CLEAR_LINE)


class Picture:
    """A picture that stands below everything that is printed, and is replaced where it stands."""

    def __init__(self, live: Live) -> None:
        self._live, self._window = live, Console(file=live.console.file)
        self._picture: RenderableType = ""
        self._lengths: list[int] = []

    def show(self, draw: Callable[[], RenderableType]) -> None:
        """Draw in place of what was drawn last; `draw` is called when the width of the console is that of the
        window."""
        self.clear_what_wrapped()
        self._picture = draw()
        self._live.update(self._picture, refresh=True)
        self._measure()

    def say(self, text: str) -> None:
        """Print a text above."""
        self.clear_what_wrapped()
        self._live.console.print(text, markup=False)
        self._measure()

    def clear_what_wrapped(self) -> None:
        """Erase the rows that a window which has become narrower has added: rich goes up by as many as it drew."""
        console = self._live.console
        console.size = self._window.size  # kept until the next picture: the window may change while one is drawn
        added = sum(math.ceil(length / console.width) - 1 for length in self._lengths if length)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * added
        console.control(CLEAR_LINE, Control(*up))

    def _measure(self) -> None:
        console = self._live.console
        lines = console.render_lines(self._picture, pad=False)[: console.height]
        self._lengths = [Segment.get_line_length(line) for line in lines]


@contextmanager
def pictures(console: Console, stays: bool) -> Iterator[Picture]:
    """Yield a picture on a terminal; `stays`: what was drawn last is left there at the end."""
    with Live(console=console, auto_refresh=False, transient=not stays) as live:
        picture = Picture(live)
        try:
            yield picture
        finally:
            picture.clear_what_wrapped()


def bar(ended: int, units: int, left: str, width: int) -> Text:
    """Return a line with a bar and how many units have ended: `━━━━ 5 of 24 units · 27 s left`."""
    told = " · ".join(filter(None, (f"{ended} of {units} units", left)))
    columns = min(BAR, width - MARGIN - len(told) - 2)
    if columns < LEAST_BAR:
        return fitted(Text(told), width)
    full = columns * ended // max(1, units)
    return Text.assemble(("━" * full, "bar.complete"), ("━" * (columns - full), "bar.back"), f"  {told}")


def what_runs(running: Sequence[Process], width: int, rows: int, elsewhere: str) -> list[Text]:
    """Return the processes that run, in at most so many rows: the label, step and losses of each in one, or in two
    where the window is narrow. Where not all have room, the last row says how many more there are, and that
    `elsewhere` shows them."""
    labels = max((len(process.label) for process in running), default=0)
    beside = labels + DETAIL <= width - MARGIN
    each = 1 if beside else 2
    room = len(running) if each * len(running) <= rows else max(0, (rows - 1) // each)
    lines: list[Text] = []
    for process in running[:room]:
        if beside:
            lines.append(Text(f"{process.label:{labels}}  {process.where:17}  {process.losses}".rstrip()))
        else:
            detail = Text(f"  {' · '.join(filter(None, (process.where, process.losses)))}", style="dim")
            lines += [Text(process.label), detail]
    if room < len(running):
        lines.append(Text(f"and {len(running) - room} more: {elsewhere}", style="dim"))
    return [fitted(line, width) for line in lines]


def fitted(line: Text, width: int) -> Text:
    """Return a line, shortened to what fits beside the margin."""
    line.truncate(max(1, width - MARGIN), overflow="ellipsis")
    return line
