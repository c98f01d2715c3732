"""TensorBoard: event files in results/NAME/tensorboard/, a folder for each unit, written by TensorBoard's own package.

While a unit trains its folder gets files with the steps that are heard of. At its end a last file has all steps; it
begins with the mark of a restart, at which readers forget what they read before. The others stay, since a TensorBoard
that is reading one would not go on to the next if it were gone.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from study.trackers.tracker import Outcome, Point, Run

WHOLE = "events.out.tfevents.whole"
"""Event file of a finished unit. The others have a number in place of the last word, so that it is read last."""


class TensorBoard:
    """A folder of event files."""

    def __init__(self, results: Path, study: str) -> None:
        self._root, self._scratch = results / "tensorboard", results / "tmp"
        self._open: dict[str, tuple[Any, int]] = {}
        """By unit the writer of its live file, and the last step that is there."""

    @property
    def place(self) -> str:
        return str(self._root)

    def is_finished(self, run: Run) -> bool:
        return (self._root / run.folder / WHOLE).is_file()

    def add(self, run: Run, point: Point) -> None:
        writer, last = self._open.get(run.unit) or self._begin(run, point.time)
        if point.step > last:
            writer.add_event(_event(point.time, point.step, point.losses))
            writer.flush()
            last = point.step
        self._open[run.unit] = (writer, last)

    def finish(self, run: Run, outcome: Outcome) -> None:
        folder = self._root / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._scratch.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=self._scratch, prefix="tensorboard.") as scratch:
            self._write(scratch, run, outcome)
            if run.unit in self._open:
                self._open.pop(run.unit)[0].close()
            [written] = Path(scratch).iterdir()
            os.replace(written, folder / WHOLE)

    def fail(self, run: Run, reason: str) -> None:
        """Leave the curve as it is: event files have no place for a reason."""

    def close(self) -> None:
        for writer, _ in self._open.values():
            writer.close()

    def _begin(self, run: Run, time: float) -> tuple[Any, int]:
        """Return a writer of a new live file of a unit, and the last step that earlier ones have."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self._root / run.folder
        steps = [event.step for file in folder.glob("*tfevents*") for event in _events(file)]
        writer = EventFileWriter(str(folder))
        if not steps:
            writer.add_event(_parameters(run, time))
        return writer, max(steps, default=0)

    def _write(self, folder: str, run: Run, outcome: Outcome) -> None:
        """Write a file with all of a finished unit."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(folder)
        writer.add_event(Event(wall_time=outcome.started, step=0, session_log=SessionLog(status=SessionLog.START)))
        writer.add_event(_parameters(run, outcome.started))
        for point in outcome.curve:
            writer.add_event(_event(point.time, point.step, point.losses))
        last = outcome.curve[-1].step if outcome.curve else 0
        writer.add_event(_event(outcome.ended, last, outcome.figures))
        writer.close()


def _event(time: float, step: int, values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
    return Event(wall_time=time, step=step, summary=summary)


def _parameters(run: Run, time: float) -> Any:
    """Return the event of which TensorBoard's table of hyperparameters is made."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    about = {"study": run.study, "kind": run.kind, "label": run.label, **run.parameters}
    return Event(wall_time=time, step=0, summary=hparams_pb(about, trial_id=run.unit, start_time_secs=time))


def _events(file: Path) -> Any:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return EventFileLoader(str(file)).Load()
