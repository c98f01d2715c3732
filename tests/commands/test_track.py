"""`log` of a study and `study track`: curves and outcomes of units in trackers."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from analysis.data.results import read_results
from analysis.outcomes.answers import accuracies
from analysis.outcomes.levels import levels
from study import trackers
from study.commands import tracking
from study.commands.run import main
from study.commands.track import main as track
from study.commands.track import outcome_of, run_of
from study.commands.tracking import Tracking
from study.config.units import Cell, Unit
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.description import read_description
from study.results.files import write_json
from study.results.finished import PROGRESS
from study.results.store import FOLDERS, Store
from study.trackers import is_installed

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"
needs_tensorboard = pytest.mark.skipif(not is_installed("tensorboard"), reason="tensorboard is not installed")


@pytest.fixture
def results(uninterrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(uninterrupted, tmp_path / "results"))


def scalars(results: Path, folder: str) -> dict[str, list[int]]:
    """The steps of each tag of a unit in TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = results / "tensorboard" / folder
    if not place.is_dir():
        return {}
    read = EventAccumulator(str(place)).Reload()
    return {tag: [point.step for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def steps_of(results: Path, unit: Unit) -> list[int]:
    return scalars(results, Store(results).folder(unit).name).get("loss", [])


def event_files(results: Path) -> set[Path]:
    return set((results / "tensorboard").rglob("*tfevents*"))


def test_what_is_not_installed_is_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers.NEEDED, "wandb", ("no_such_package",))
    assert main([str(SMOKE), "--results", str(tmp_path / "results"), "--set", "log=[wandb]"]) == 2
    assert capsys.readouterr().err == (
        "log: wandb cannot be logged to, since the packages are not installed here: "
        "pip install -e '.[wandb]', or leave the name out of `log`\n"
    )
    assert not (tmp_path / "results").exists()


def test_an_unknown_tracker_is_told_with_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SMOKE), "--results", str(tmp_path / "results"), "--set", "log=[tensorbord]"]) == 2
    said = capsys.readouterr().err
    assert "log" in said
    assert "tensorboard" in said


def test_log_changes_no_id() -> None:
    plain, logged = read_study(SMOKE), read_study(SMOKE, ["log=[tensorboard, mlflow]"])
    assert logged.study.log == ["tensorboard", "mlflow"]
    ids = [[unit.id for unit in expand(plan.study, plan.models)] for plan in (plain, logged)]
    assert ids[0] == ids[1]


def test_figures_are_those_of_the_report(uninterrupted: Path) -> None:
    read = read_results(uninterrupted)
    found = {}
    for entry in read_description(uninterrupted)["units"]:
        outcome = outcome_of(entry, uninterrupted / FOLDERS[entry["kind"]] / entry["folder"])
        found |= {(entry["id"], name): value for name, value in outcome.figures.items()}
    expected: dict[tuple[Any, str], float] = {}
    for row in levels(read).to_dict("records"):
        expected[row["unit"], f"choice/{row['templates']}/{row['tier']}"] = row["choice"]
    for row in accuracies(read).to_dict("records"):
        expected[row["unit"], f"answers/{row['stage']}/{row['tier']}"] = row["right"]
    assert len(expected) > 10
    told = {key: value for key, value in found.items() if "/" in key[1]}
    assert told == pytest.approx(expected)


def test_parameters_are_what_the_unit_is_and_its_settings(uninterrupted: Path) -> None:
    entries = read_description(uninterrupted)["units"]
    [cell] = [entry for entry in entries if entry["layer"] is not None]
    run = run_of("smoke", cell)
    assert run.label == "tiny-llama|L1|multiply-add|w=0.5|s0"
    assert run.parameters["layer"] == 1
    assert run.parameters["pair.multiply"] == "multiply"
    assert run.parameters["stage2.steps"] == 30
    assert run.parameters["wordings"] == '["symbolic"]'


@needs_tensorboard
def test_finished_units_are_logged_once(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track([str(results), "tensorboard"]) == 0
    assert capsys.readouterr().out.endswith(f"5 of 5 units are in {results / 'tensorboard'}\n")
    files = event_files(results)
    assert len(files) == 5
    [cell] = (results / "cells").glob("*_L1_*")
    steps = scalars(results, cell.name)
    assert steps["loss"] == steps["class_loss"] == list(range(1, 31))
    assert track([str(results), "tensorboard"]) == 0
    assert event_files(results) == files


@needs_tensorboard
def test_a_damaged_unit_is_left_out_by_name(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [cell] = (results / "cells").glob("*_L1_*")
    (cell / "lens.parquet").write_bytes(b"\xff" * (cell / "lens.parquet").stat().st_size)
    assert track([str(results), "tensorboard"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("4 of 5 units are in ")
    assert said.endswith("left out, since they are damaged: tiny-llama|L1|multiply-add|w=0.5|s0")


@needs_tensorboard
def test_a_unit_that_is_cut_short_is_left_out_by_name_too(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [cell] = (results / "cells").glob("*_L1_*")
    (cell / "curves.parquet").write_bytes((cell / "curves.parquet").read_bytes()[:100])
    assert track([str(results), "tensorboard"]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("left out, since they are damaged: tiny-llama|L1|multiply-add|w=0.5|s0")
    )


@pytest.mark.slow
@needs_tensorboard
def test_a_unit_that_trains_is_logged_step_by_step_and_the_rest_at_the_end(results: Path) -> None:
    plan = read_study(SMOKE)
    cell = next(unit for unit in expand(plan.study, plan.models) if isinstance(unit, Cell) and unit.layer is not None)
    store, kept = Store(results), results.parent / "kept"
    store.folder(cell).rename(kept)
    folder = store.begin(cell)
    following = Tracking(["tensorboard"], results)
    for step in (4, 9):
        write_json(folder / PROGRESS, {"id": cell.id, "step": step, "loss": 1.0})
        while step not in steps_of(results, cell):
            assert following.look() == ""
            time.sleep(0.2)
    kept.rename(store.folder(cell))
    store.abandon(folder)
    assert following.end() == f"tensorboard: 5 of 5 units are in {results / 'tensorboard'}"
    assert steps_of(results, cell) == list(range(1, 31))


@pytest.mark.slow
@needs_tensorboard
def test_a_tracker_that_cannot_write_is_one_warning(results: Path) -> None:
    (results / "tensorboard").write_text("a file in its place")
    following = Tracking(["tensorboard"], results)
    said = following.look()
    while not said:
        time.sleep(0.1)
        said = following.look()
    assert said.startswith("tensorboard: no more is logged: ")
    assert "the same command logs what is missing" in said
    assert following.look() == ""
    assert following.end() == ""


@pytest.mark.slow
@needs_tensorboard
def test_a_tracker_that_hangs_is_ended(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "SILENT_SECONDS", 0.0)
    following = Tracking(["tensorboard"], results)
    assert following.end().startswith("tensorboard: no more is logged: it logged nothing for 0 s")


@pytest.mark.slow
@needs_tensorboard
def test_a_study_that_has_finished_is_logged_when_it_is_run_again(results: Path) -> None:
    command = [sys.executable, "-m", "study", "run", str(SMOKE), "--results", str(results)]
    command += ["--report", str(results / "report.md"), "--set", "ray.workers=0", "--set", "log=[tensorboard]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"tensorboard: 5 of 5 units are in {results / 'tensorboard'}" in done.stdout.splitlines()
    assert len(event_files(results)) == 5


@needs_tensorboard
def test_two_processes_do_not_log_one_study_to_the_same_tracker(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(results / ".tensorboard.lock"):
        assert track([str(results), "tensorboard"]) == 1
    assert "another process logs this study to tensorboard" in capsys.readouterr().err
    assert event_files(results) == set()
