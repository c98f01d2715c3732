"""Progress of a run: a live display with the units that run, or plain lines where there is no terminal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.text import Text

from actors.worker import Ended
from study.config.units import Unit, kind
from study.results.running import Process, duration, processes, seconds_left
from study.results.store import Store
from study.results.terminal import Picture, bar, fitted, pictures, what_runs


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

    @property
    def time_left(self) -> str:
        left = self.seconds_left()
        return "time left: not known yet" if left is None else f"{duration(left)} left"

    def line(self) -> str:
        """`5/24 · 0 failed · 12.9 a minute · 27 s left`"""
        parts = [
            f"{len(self.ended)}/{len(self.units)}",
            f"{self.count('failed')} failed",
            *([f"{self.count('skipped')} skipped"] if self.count("skipped") else []),
            f"{self.per_minute:.1f} a minute",
            self.time_left,
        ]
        return " · ".join(parts)


class Display:
    """Displays one run; `tell` is called for every unit that ends and, with None, in between."""

    def __init__(self, tally: Tally, store: Store, console: Console, picture: Picture | None) -> None:
        self.tally, self.store, self.console, self.picture = tally, store, console, picture

    def say(self, text: str) -> None:
        """Print a separate line, above the picture if there is one."""
        if self.picture:
            self.picture.say(text)
        else:
            self.console.print(text, markup=False)

    def tell(self, ended: Ended | None) -> None:
        if ended:
            self.tally.ended.append(ended)
        if ended and (self.picture is None or ended.outcome.state != "done"):
            self.say(_sentence(ended, self.tally if self.picture is None else None))
        if self.picture:
            running = [process for process in processes(self.store.running()) if not process.is_silent]
            self.picture.show(lambda: _picture(self.tally, running, self.console, self.store))


@contextmanager
def display(units: Sequence[Unit], slots: int, store: Store, console: Console) -> Iterator[Display]:
    """Yield a display of the run of `units`: live on a terminal, otherwise a line for each unit that ends."""
    tally = Tally(units, slots)
    if not console.is_terminal:
        yield Display(tally, store, console, None)
        return
    with pictures(console, stays=False) as picture:
        shown = Display(tally, store, console, picture)
        shown.tell(None)
        yield shown


def _sentence(ended: Ended, tally: Tally | None) -> str:
    outcome = ended.outcome
    what = f"done in {duration(outcome.seconds)}" if outcome.state == "done" else f"{outcome.state}: {outcome.reason}"
    return f"{ended.unit.label}  {what}" + (f"  [{tally.line()}]" if tally else "")


def _picture(tally: Tally, running: Sequence[Process], console: Console, store: Store) -> RenderableType:
    """Return a bar, the number of units by state, and what runs, in lines that fit the window."""
    states = tally.states(sum(len(process.units) for process in running))
    counts = " · ".join(f"{number} {state}" for state, number in states.items() if number or state != "skipped")
    head = [
        bar(len(tally.ended), len(tally.units), tally.time_left, console.width),
        fitted(Text(counts), console.width),
    ]
    shown = what_runs(running, console.width, console.height - len(head) - 1, f"study status {store.root}")
    return Group(*head, *shown)
