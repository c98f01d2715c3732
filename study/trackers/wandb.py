"""Weights & Biases: a run for each finished unit in a folder results/NAME/wandb/offline-run-…, to send by `wandb sync`.

Nothing is sent unless WANDB_MODE=online is set. A run is written when its unit has finished: an offline run cannot be
gone on with, and is not seen before it is sent.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from study.trackers.tracker import Outcome, Point, Run

MODES = ("offline", "online")


class WandB:
    """The runs of a study in the project of its name, or in WANDB_PROJECT."""

    def __init__(self, results: Path, study: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._mode = os.environ.get("WANDB_MODE", "offline")
        if self._mode not in MODES:
            raise ValueError(f"WANDB_MODE is {self._mode}; known here: {', '.join(MODES)}")
        self._root, self._scratch = results / "wandb", results / "tmp"

    @property
    def place(self) -> str:
        return str(self._root)

    def is_finished(self, run: Run) -> bool:
        return any(self._root.glob(f"*run-*-{_id(run)}"))

    def add(self, run: Run, point: Point) -> None:
        """Wait for the unit's end."""

    def finish(self, run: Run, outcome: Outcome) -> None:
        import wandb

        self._root.mkdir(parents=True, exist_ok=True)
        self._scratch.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=self._scratch, prefix="wandb.") as scratch:
            written = wandb.init(
                project=os.environ.get("WANDB_PROJECT", run.study),
                group=run.study,
                job_type=run.kind,
                id=_id(run),
                name=run.label,
                tags=[run.study, run.unit, run.kind],
                config=dict(run.parameters),
                dir=scratch,
                mode=self._mode,
                resume="allow" if self._mode == "online" else None,
                settings=wandb.Settings(
                    silent=True, console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True
                ),
            )
            for point in outcome.curve:
                written.log({**point.losses, "_timestamp": point.time}, step=point.step)
            written.summary.update(dict(outcome.figures))
            written.finish()
            folder = Path(written.dir).parent
            folder.rename(self._root / folder.name)

    def fail(self, run: Run, reason: str) -> None:
        """Leave it out: a run that is written is not written again when the unit has been run again."""

    def close(self) -> None:
        """End W&B's own process, if a run was written."""
        import wandb

        wandb.teardown()


def _id(run: Run) -> str:
    return f"{run.study}-{run.unit}"
