"""What trackers write, read back by their own libraries."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from study.config.names import TrackerName
from study.trackers import NEEDED, is_installed, open_tracker
from study.trackers.tracker import Outcome, Point, Run, Tracker

RUN = Run("try", "1a2b3c4d", "cell", "tiny|L1|a-b|w=0.5|s0", "tiny_L1_1a2b3c4d", {"layer": 1, "stage2.steps": 3})
CURVE = [Point(step, 1e9 + step, {"loss": 1 / step, "class_loss": 2 / step}) for step in (1, 2, 3)]
OUTCOME = Outcome(CURVE, {"choice/unseen/story": 0.75}, 1e9, 1e9 + 10)
LOSSES = {step: pytest.approx(1 / step) for step in (1, 2, 3)}
HERE = {name: pytest.mark.skipif(not is_installed(name), reason=f"{name} is not installed") for name in NEEDED}
WITH_LIVE_POINTS: list[Any] = [
    pytest.param("tensorboard", marks=HERE["tensorboard"]),
    pytest.param("mlflow", marks=[HERE["mlflow"], pytest.mark.slow]),
]
EVERY = [*WITH_LIVE_POINTS, pytest.param("wandb", marks=[HERE["wandb"], pytest.mark.slow])]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a folder with an empty database of MLflow once, which takes it seconds."""
    place = tmp_path_factory.mktemp("mlflow")

    @cache
    def made() -> Path:
        open_tracker("mlflow", place, "try").close()
        return place / "mlflow"

    return made


@pytest.fixture
def opened(tmp_path: Path, database: Callable[[], Path]) -> Iterator[Callable[[TrackerName], Tracker]]:
    """Opens a tracker as another process would, after what was open has been closed."""
    trackers: list[Tracker] = []

    def another(name: TrackerName) -> Tracker:
        if trackers:
            trackers.pop().close()
        if name == "mlflow" and not (tmp_path / "mlflow").exists():
            shutil.copytree(database(), tmp_path / "mlflow")
        trackers.append(open_tracker(name, tmp_path, "try"))
        return trackers[-1]

    yield another
    for tracker in trackers:
        tracker.close()


def of_tensorboard(results: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each point, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(results / "tensorboard" / RUN.folder)).Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def runs_of_mlflow(results: Path) -> list[Any]:
    client = client_of(results)
    return list(client.search_runs([client.get_experiment_by_name("try").experiment_id]))


def client_of(results: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow' / 'mlflow.db'}")


def losses(name: str, results: Path) -> list[tuple[int, float]]:
    if name == "tensorboard":
        return of_tensorboard(results)["loss"]
    [run] = runs_of_mlflow(results)
    return [(one.step, one.value) for one in client_of(results).get_metric_history(run.info.run_id, "loss")]


@HERE["tensorboard"]
def test_tensorboard_shows_curve_figures_and_parameters(
    opened: Callable[[TrackerName], Tracker], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    opened("tensorboard").finish(RUN, OUTCOME)
    found = of_tensorboard(tmp_path)
    assert dict(found["loss"]) == LOSSES
    assert found["choice/unseen/story"] == [(3, 0.75)]
    read = EventAccumulator(str(tmp_path / "tensorboard" / RUN.folder)).Reload()
    data = read.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(data).session_start_info.hparams
    assert told["layer"].number_value == 1
    assert told["label"].string_value == RUN.label


@pytest.mark.slow
@HERE["mlflow"]
def test_mlflow_shows_curve_figures_parameters_and_tags(
    opened: Callable[[TrackerName], Tracker], tmp_path: Path
) -> None:
    opened("mlflow").finish(RUN, OUTCOME)
    [run] = runs_of_mlflow(tmp_path)
    assert dict(losses("mlflow", tmp_path)) == LOSSES
    assert run.info.run_name == RUN.label
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 10**12, 10**12 + 10_000)
    assert run.data.metrics["choice/unseen/story"] == 0.75
    assert run.data.params == {"layer": "1", "stage2.steps": "3"}
    assert {"study": "try", "unit": RUN.unit, "kind": "cell"}.items() <= run.data.tags.items()


@pytest.mark.slow
@HERE["wandb"]
def test_wandb_finds_the_run_and_would_send_it(opened: Callable[[TrackerName], Tracker], tmp_path: Path) -> None:
    from click.testing import CliRunner
    from wandb.cli.cli import cli

    opened("wandb").finish(RUN, OUTCOME)
    [folder] = (tmp_path / "wandb").iterdir()
    [file] = folder.glob("*.wandb")
    said = CliRunner().invoke(cli, ["sync", "--dry-run", str(folder)])
    assert said.exit_code == 0
    assert "1 run" in said.output
    written = file.read_bytes()
    for text in (RUN.label, "choice/unseen/story", "stage2.steps", "class_loss"):
        assert text.encode() in written, text


@pytest.mark.parametrize("name", EVERY)
def test_a_finished_run_is_known_to_the_next_process_and_its_name_is_no_other_run_s(
    name: TrackerName, opened: Callable[[TrackerName], Tracker]
) -> None:
    assert not opened(name).is_finished(RUN)
    tracker = opened(name)
    tracker.finish(RUN, OUTCOME)
    again = opened(name)
    assert again.is_finished(RUN)
    assert not again.is_finished(Run(**{**vars(RUN), "unit": "00000000", "folder": "tiny_L1_00000000"}))


@pytest.mark.parametrize("name", WITH_LIVE_POINTS)
def test_points_of_a_unit_that_trains_are_there_at_once_and_none_is_there_twice(
    name: TrackerName, opened: Callable[[TrackerName], Tracker], tmp_path: Path
) -> None:
    tracker = opened(name)
    tracker.add(RUN, CURVE[0])
    tracker.add(RUN, CURVE[0])
    assert losses(name, tmp_path) == [(1, 1.0)]
    again = opened(name)  # the study was interrupted, and resumed from a checkpoint before that step
    assert not again.is_finished(RUN)
    again.add(RUN, CURVE[0])
    again.add(RUN, CURVE[2])
    assert losses(name, tmp_path) == [(1, 1.0), (3, LOSSES[3])]
    again.finish(RUN, OUTCOME)
    assert sorted(losses(name, tmp_path)) == list(LOSSES.items())


@HERE["tensorboard"]
def test_a_tensorboard_that_has_read_live_points_shows_each_step_once(
    opened: Callable[[TrackerName], Tracker], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = opened("tensorboard")
    tracker.add(RUN, CURVE[1])
    read = EventAccumulator(str(tmp_path / "tensorboard" / RUN.folder)).Reload()
    assert [point.step for point in read.Scalars("loss")] == [2]
    tracker.finish(RUN, OUTCOME)
    assert [point.step for point in read.Reload().Scalars("loss")] == [1, 2, 3]


@pytest.mark.slow
@HERE["mlflow"]
def test_mlflow_shows_a_failure_until_the_unit_has_been_run_again(
    opened: Callable[[TrackerName], Tracker], tmp_path: Path
) -> None:
    opened("mlflow").fail(RUN, "the loss is NaN")
    opened("mlflow").fail(RUN, "the loss is NaN")
    [failed] = runs_of_mlflow(tmp_path)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["reason"] == "the loss is NaN"
    opened("mlflow").finish(RUN, OUTCOME)
    [run] = runs_of_mlflow(tmp_path)
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    assert "reason" not in run.data.tags


@pytest.mark.slow
@HERE["mlflow"]
def test_a_run_that_was_left_in_mlflow_is_no_longer_said_to_run(
    opened: Callable[[TrackerName], Tracker], tmp_path: Path
) -> None:
    tracker = opened("mlflow")
    tracker.add(RUN, CURVE[0])
    assert [run.info.status for run in runs_of_mlflow(tmp_path)] == ["RUNNING"]
    tracker.close()
    assert [run.info.status for run in runs_of_mlflow(tmp_path)] == ["KILLED"]


def test_a_folder_that_a_tracker_left_is_not_taken_for_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NEEDED, "wandb", ("left_by_a_tracker",))
    (tmp_path / "left_by_a_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("wandb")
    (tmp_path / "left_by_a_tracker" / "__init__.py").touch()
    assert is_installed("wandb")
