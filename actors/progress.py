"""What a running grid tells: a live bar with the units that run, or plain lines where there is no terminal."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.worker import Ended
from study.cells import Unit, kind
from study.store import Store

SILENT_SECONDS = 120.0
"""An attempt that has said nothing for this long is not shown as running."""


@dataclass
class Tally:
    """How far a run is, and how long the rest may take."""

    units: Sequence[Unit]
    slots: int
    ended: list[Ended] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def count(self, state: str) -> int:
        return sum(ended.outcome.state == state for ended in self.ended)

    @property
    def per_minute(self) -> float:
        return 60 * len(self.ended) / max(1e-9, time.monotonic() - self.started)

    def seconds_left(self) -> float | None:
        """From the mean duration of each kind of unit, all slots busy; None until a unit of each kind has finished."""
        seconds: dict[str, list[float]] = defaultdict(list)
        for ended in self.ended:
            if ended.outcome.state == "done":
                seconds[kind(ended.unit)].append(ended.outcome.seconds)
        over = {ended.unit.id for ended in self.ended}
        left = [kind(unit) for unit in self.units if unit.id not in over]
        if any(not seconds[which] for which in left):
            return None
        return sum(sum(seconds[which]) / len(seconds[which]) for which in left) / self.slots

    def line(self) -> str:
        left = self.seconds_left()
        parts = [
            f"{len(self.ended)}/{len(self.units)}",
            f"{self.count('failed')} failed",
            *([f"{self.count('skipped')} skipped"] if self.count("skipped") else []),
            f"{self.per_minute:.1f} a minute",
            "time left: not known yet" if left is None else f"{duration(left)} left",
        ]
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


class Display:
    """Shows one run; `tell` is called for every unit that ends and, with None, in between."""

    def __init__(self, tally: Tally, store: Store, console: Console, live: Live | None) -> None:
        self.tally, self.store, self.console, self.live = tally, store, console, live

    def say(self, text: str) -> None:
        """A line of its own, above the live bar where there is one."""
        self.console.print(text, markup=False)

    def tell(self, ended: Ended | None) -> None:
        if ended:
            self.tally.ended.append(ended)
        if ended and (self.live is None or ended.outcome.state != "done"):
            self.console.print(_sentence(ended, self.tally if self.live is None else None), markup=False)
        if self.live:
            self.live.update(_picture(self.tally, self.store.running(time.time() - SILENT_SECONDS)), refresh=True)


@contextmanager
def display(units: Sequence[Unit], slots: int, store: Store, console: Console) -> Iterator[Display]:
    """A display of the run of `units`: live on a terminal, otherwise a line for each unit that ends."""
    tally = Tally(units, slots)
    if not console.is_terminal:
        yield Display(tally, store, console, None)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown = Display(tally, store, console, live)
        shown.tell(None)
        yield shown


def _sentence(ended: Ended, tally: Tally | None) -> str:
    outcome = ended.outcome
    what = f"done in {duration(outcome.seconds)}" if outcome.state == "done" else f"{outcome.state}: {outcome.reason}"
    return f"{ended.unit.label}  {what}" + (f"  [{tally.line()}]" if tally else "")


def _picture(tally: Tally, running: list[dict[str, Any]]) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    for _ in range(4):
        rows.add_column(no_wrap=True, overflow="ellipsis")
    processes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for note in running:
        processes[note.get("host"), note.get("pid")].append(note)
    for note, *others in processes.values():  # cells that train side by side are one line
        steps = f"{note['step']}/{note['steps']}" if note["steps"] else ""
        losses = [f"{name.replace('_', ' ')} {note[name]:.3f}" for name in ("loss", "class_loss") if name in note]
        more = f" and {len(others)} more" if others else ""
        rows.add_row(Text(note["label"] + more), note["stage"], steps, ", ".join(losses))
    bar = ProgressBar(total=max(1, len(tally.units)), completed=len(tally.ended), width=30)
    head = Table.grid(padding=(0, 2))
    head.add_row(bar, Text(f"{len(running)} running · {tally.line()}"))
    return Group(head, rows)
