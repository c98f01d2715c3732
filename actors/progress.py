"""Progress of a run: a live display with the units that run, or plain lines where there is no terminal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.worker import Ended
from study.config.units import Unit, kind
from study.results.running import Process, duration, processes, seconds_left
from study.results.store import Store


@dataclass
class Tally:
    """The units of a run that have ended, and the estimated time that is left."""

    units: Sequence[Unit]
    slots: int
    ended: list[Ended] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def count(self, state: str) -> int:
        return sum(ended.outcome.state == state for ended in self.ended)

    def states(self, running: int) -> dict[str, int]:
        """Return the number of units of the run by state."""
        over = {state: self.count(state) for state in ("done", "failed", "skipped")}
        return {**over, "running": running, "waiting": len(self.units) - len(self.ended) - running}

    @property
    def per_minute(self) -> float:
        return 60 * len(self.ended) / max(1e-9, time.monotonic() - self.started)

    def seconds_left(self) -> float | None:
        """Return the estimated seconds that are left, as `study.results.running.seconds_left`; None if not known
        yet."""
        done = [(kind(ended.unit), ended.outcome.seconds) for ended in self.ended if ended.outcome.state == "done"]
        over = {ended.unit.id for ended in self.ended}
        return seconds_left(done, [kind(unit) for unit in self.units if unit.id not in over], self.slots)

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


class Display:
    """Displays one run; `tell` is called for every unit that ends and, with None, in between."""

    def __init__(self, tally: Tally, store: Store, console: Console, live: Live | None) -> None:
        self.tally, self.store, self.console, self.live = tally, store, console, live

    def say(self, text: str) -> None:
        """Print a separate line, above the live display if there is one."""
        self.console.print(text, markup=False)

    def tell(self, ended: Ended | None) -> None:
        if ended:
            self.tally.ended.append(ended)
        if ended and (self.live is None or ended.outcome.state != "done"):
            self.console.print(_sentence(ended, self.tally if self.live is None else None), markup=False)
        if self.live:
            running = [process for process in processes(self.store.running()) if not process.is_silent]
            self.live.update(_picture(self.tally, running), refresh=True)


@contextmanager
def display(units: Sequence[Unit], slots: int, store: Store, console: Console) -> Iterator[Display]:
    """Yield a display of the run of `units`: live on a terminal, otherwise a line for each unit that ends."""
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


def _picture(tally: Tally, running: list[Process]) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    for _ in range(3):
        rows.add_column(no_wrap=True, overflow="ellipsis")
    for process in running:
        rows.add_row(Text(process.label), process.where, process.losses)
    bar = ProgressBar(total=max(1, len(tally.units)), completed=len(tally.ended), width=30)
    head = Table.grid(padding=(0, 2))
    head.add_row(bar, Text(f"{sum(len(process.units) for process in running)} running · {tally.line()}"))
    return Group(head, rows)
