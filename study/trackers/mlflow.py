"""MLflow: an experiment for the study with a run for each unit, in the SQLite database results/NAME/mlflow/mlflow.db.

With MLFLOW_TRACKING_URI set they go to that server. MLflow's folders of files, its former default, are in maintenance
mode since MLflow 3.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from study.trackers.tracker import Outcome, Point, Run

URI = "MLFLOW_TRACKING_URI"
MOST_METRICS, MOST_PARAMETERS = 1000, 100
"""What MLflow takes in one call."""
LONGEST_REASON = 5000
"""Largest length of a tag's text in characters."""
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""Settings of MLflow unless the environment has others: by its own defaults a server that is gone is waited for many
minutes."""
TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""The tag by which MLflow's pages show runs and charts, not the traces of an application."""


class MLflow:
    """The experiment of a study."""

    def __init__(self, results: Path, study: str) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._folder, self._server = results / "mlflow", os.environ.get(URI)
        if not self._server:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=self._server or f"sqlite:///{self._folder / 'mlflow.db'}")
        self._experiment = self._find_experiment(study)
        self._found = {run.data.tags["unit"]: run for run in self._all_runs() if "unit" in run.data.tags}
        """The runs that other processes wrote, by unit."""
        self._open: dict[str, tuple[str, set[int]]] = {}
        """By unit the id of a run that this process writes and has not ended, and the steps that it has."""

    @property
    def place(self) -> str:
        return f"the server of {URI}" if self._server else str(self._folder / "mlflow.db")

    def is_finished(self, run: Run) -> bool:
        return run.unit in self._found and self._found[run.unit].info.status == "FINISHED"

    def add(self, run: Run, point: Point) -> None:
        id, steps = self._opened(run, point.time)
        if point.step not in steps:
            self._client.log_batch(id, metrics=_metrics(point.time, point.step, point.losses))
            steps.add(point.step)

    def finish(self, run: Run, outcome: Outcome) -> None:
        id, steps = self._opened(run, outcome.started)
        there = self._client.get_run(id).data
        lacking = {name: value for name, value in outcome.figures.items() if name not in there.metrics}
        last = outcome.curve[-1].step if outcome.curve else 0
        new = [point for point in outcome.curve if point.step not in steps]
        metrics = [metric for point in new for metric in _metrics(point.time, point.step, point.losses)]
        metrics += _metrics(outcome.ended, last, lacking)
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(id, metrics=metrics[start : start + MOST_METRICS])
        if "reason" in there.tags:
            self._client.delete_tag(id, "reason")
        self._end(run, "FINISHED", outcome.ended)

    def fail(self, run: Run, reason: str) -> None:
        found = self._found.get(run.unit)
        told = reason[:LONGEST_REASON]
        if found and run.unit not in self._open and found.info.status == "FAILED" and found.data.tags["reason"] == told:
            return
        id, _ = self._opened(run, None)
        self._client.set_tag(id, "reason", told)
        self._end(run, "FAILED", None)

    def close(self) -> None:
        for id, _ in self._open.values():
            self._client.set_terminated(id, "KILLED")

    def _opened(self, run: Run, started: float | None) -> tuple[str, set[int]]:
        """Return the id of a run that can be written, and the steps that it has; it is made where there is none."""
        from mlflow.entities import Param

        if run.unit in self._open:
            return self._open[run.unit]
        if found := self._found.get(run.unit):
            id, there = found.info.run_id, found.data.params
            self._client.update_run(id, status="RUNNING")
            steps = {metric.step for metric in self._client.get_metric_history(id, "loss")}
        else:
            tags = {"study": run.study, "unit": run.unit, "kind": run.kind}
            time = None if started is None else _milliseconds(started)
            made = self._client.create_run(self._experiment, time, tags, run.label)
            id, there, steps = made.info.run_id, {}, set[int]()
        parameters = [Param(name, str(value)) for name, value in run.parameters.items() if name not in there]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(id, params=parameters[start : start + MOST_PARAMETERS])
        self._open[run.unit] = (id, steps)
        return id, steps

    def _end(self, run: Run, status: str, time: float | None) -> None:
        id, _ = self._open.pop(run.unit)
        self._client.set_terminated(id, status, None if time is None else _milliseconds(time))
        self._found[run.unit] = self._client.get_run(id)

    def _find_experiment(self, study: str) -> str:
        if found := self._client.get_experiment_by_name(study):
            return str(found.experiment_id)
        artifacts = None if self._server else (self._folder / "artifacts").as_uri()
        return str(self._client.create_experiment(study, artifacts, TRAINING))

    def _all_runs(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], page_token=token)
            yield from page
            if not (token := page.token):
                return


def _metrics(time: float, step: int, values: Mapping[str, float]) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(name, value, _milliseconds(time), step) for name, value in values.items()]


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
