import errno
import json
import multiprocessing
import os
import signal
import time

import pandas as pd
import pytest

from study.config.catalogue import BuiltSource, Model
from study.config.grid import Grid
from study.config.study import Study
from study.config.units import folder_name
from study.plan.expand import expand
from study.results.files import write_bytes, write_json, write_rows
from study.results.finished import DONE, PROGRESS
from study.results.schema import COLUMNS, files_of
from study.results.store import Status, Store
from tests.finished import complete

STUDY = Study(
    name="example",
    models=["small"],
    grid=Grid(layers=[0.5], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.5]),
)
UNITS = expand(STUDY, {"small": Model(source=BuiltSource(built="llama"), blocks=4)})
UNIT = UNITS[-1]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def finish(store, content, unit=UNIT):
    with store.attempt(unit) as folder:
        write_json(folder / "content.json", content)
        complete(folder, unit)


def left_over(store):
    return [path for path in (store.root / "tmp").glob("*")] if store.root.exists() else []


def test_a_unit_is_done_when_its_attempt_ends_and_not_before(store):
    with store.attempt(UNIT) as folder:
        complete(folder, UNIT)
        assert store.status(UNIT).state == "run"
    assert store.status(UNIT).state == "done"
    assert (store.folder(UNIT) / "unit.json").is_file()
    assert store.folder(UNIT) == store.root / "cells" / folder_name(UNIT)
    assert left_over(store) == []


def test_of_two_attempts_the_first_that_finishes_wins(store):
    with store.attempt(UNIT) as slow:
        write_json(slow / "content.json", "slow")
        finish(store, "fast")
        complete(slow, UNIT)
    assert (store.folder(UNIT) / "content.json").read_text() == '"fast"\n'
    assert left_over(store) == []


def test_many_attempts_at_once_leave_one_whole_result(store):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=finish, args=(store, number)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert {path.name for path in store.folder(UNIT).iterdir()} == {"content.json", DONE, *files_of("cell")}
    assert left_over(store) == []


@pytest.mark.parametrize("error", [RuntimeError("wrong"), OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt()])
def test_an_attempt_that_fails_leaves_nothing(store, error):
    def attempt():
        with store.attempt(UNIT) as folder:
            complete(folder, UNIT)
            raise error

    with pytest.raises(type(error)):
        attempt()
    assert store.status(UNIT).state == "run"
    assert left_over(store) == []


def test_an_attempt_without_its_marker_is_not_published(store):
    with pytest.raises(FileNotFoundError, match=r"wrote no done\.json"), store.attempt(UNIT) as folder:
        write_json(folder / "content.json", 1)
    assert store.status(UNIT).state == "run"


def killed_attempt(store):
    with store.attempt(UNIT) as folder:
        complete(folder, UNIT)
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_attempt_that_was_published_is_not_taken_away_when_it_is_abandoned(store):
    folder = store.begin(UNIT)
    complete(folder, UNIT)
    assert store.status(UNIT).state == "run"
    store.publish(folder, UNIT)
    store.abandon(folder)
    assert store.status(UNIT).state == "done"
    assert left_over(store) == []


def test_attempts_at_several_units_are_begun_side_by_side_and_end_each_for_itself(store):
    folders = [store.begin(unit) for unit in (*UNITS, UNIT)]
    assert len(set(folders)) == len(UNITS) + 1
    for folder, unit in zip(folders[:2], UNITS, strict=False):
        complete(folder, unit)
        store.publish(folder, unit)
    for folder in folders:
        store.abandon(folder)
    assert [store.status(unit).state for unit in UNITS] == ["done", "done", *["run"] * (len(UNITS) - 2)]
    assert left_over(store) == []


def test_a_killed_attempt_counts_for_nothing_and_is_swept_away_later(store):
    process = multiprocessing.get_context("fork").Process(target=killed_attempt, args=(store,))
    process.start()
    process.join()
    assert store.status(UNIT).state == "run"
    store.sweep(60)
    assert len(left_over(store)) == 1
    store.sweep(0)
    assert left_over(store) == []


def test_sweeping_leaves_an_attempt_that_was_written_to_lately(store):
    with store.attempt(UNIT) as folder:
        for path in (folder, folder / "unit.json"):
            os.utime(path, (0, 0))
        write_json(folder / PROGRESS, {})
        store.sweep(60)
        assert folder.is_dir()
        complete(folder, UNIT)


def test_sweeping_takes_checkpoints_of_finished_units_and_half_written_ones_and_leaves_the_others(store):
    first, cell = UNITS[0], UNIT
    for unit in (first, cell):
        write_bytes(store.checkpoint(unit), b"state")
        os.utime(store.checkpoint(unit), (0, 0))
    half_written = store.checkpoint(cell).with_name(f".{store.checkpoint(cell).name}.0123abcd")
    half_written.touch()
    finish(store, 1, first)
    store.sweep(60)
    assert set((store.root / "checkpoints").iterdir()) == {store.checkpoint(cell), half_written}
    store.sweep(0)
    assert list((store.root / "checkpoints").iterdir()) == [store.checkpoint(cell)]


def test_a_folder_without_a_marker_is_put_aside_for_a_whole_one(store):
    store.folder(UNIT).mkdir(parents=True)
    (store.folder(UNIT) / "unit.json").write_text("{")
    assert store.status(UNIT).state == "run"
    finish(store, "whole")
    assert store.status(UNIT).state == "done"
    (aside,) = (store.root / "aside").iterdir()
    assert [(file.name, file.read_text()) for file in aside.iterdir()] == [("unit.json", "{")]


def test_a_finished_unit_says_what_files_it_was_written_with_and_how_long_it_took(store):
    with store.attempt(UNIT) as folder:
        write_rows(folder / "curves.parquet", [dict.fromkeys(COLUMNS["curves"], 1.0)])
        (folder / "log.txt").write_text("logs may still grow")
        write_json(folder / PROGRESS, {})
        complete(folder, UNIT, {"seconds": {"train": 2.0, "evaluate": 0.5}})
    files = json.loads((store.folder(UNIT) / DONE).read_text())["files"]
    assert files.keys() == set(files_of("cell"))
    assert files["curves.parquet"]["bytes"] == (store.folder(UNIT) / "curves.parquet").stat().st_size
    assert store.status(UNIT) == Status("done", "finished", seconds=2.5)


def test_a_deleted_folder_is_run_again(store):
    finish(store, 1)
    store.folder(UNIT).rename(store.root / "elsewhere")
    assert store.status(UNIT).state == "run"


def test_a_failure_is_remembered_until_it_is_forgotten(store):
    store.record(UNIT, "failed", "the loss is NaN", "Traceback …")
    assert (store.status(UNIT).state, store.status(UNIT).reason) == ("failed", "the loss is NaN")
    store.forget_failure(UNIT)
    store.forget_failure(UNIT)
    assert store.status(UNIT).state == "run"


def test_a_result_outlives_an_earlier_failure(store):
    store.record(UNIT, "failed", "out of memory")
    finish(store, 1)
    assert store.status(UNIT).state == "done"
    assert list((store.root / "unfinished").glob("*")) == []


def test_running_attempts_say_where_they_are_while_they_run(store):
    with store.attempt(UNIT) as folder:
        write_json(folder / PROGRESS, {"label": UNIT.label, "step": 3})
        (note,) = store.running()
        assert abs(note.pop("written") - time.time()) < 60
        assert note == {"label": UNIT.label, "step": 3, "attempt": folder.name}
        complete(folder, UNIT)
    assert store.running() == []
    assert not (store.folder(UNIT) / PROGRESS).exists()


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "file.json"
    write_bytes(file, b"before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_bytes(file, b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
    assert file.read_bytes() == b"before"


def test_rows_are_read_back_as_they_were(tmp_path):
    figures = dict.fromkeys(COLUMNS["answers"], "") | {"number_right": True, "tier": "story"}
    rows = [
        {**figures, "prompt_id": 1, "nll": 0.5, "right": True},
        {**figures, "prompt_id": 2, "nll": 1.5, "right": False},
    ]
    write_rows(tmp_path / "answers.parquet", rows)
    assert pd.read_parquet(tmp_path / "answers.parquet").to_dict("records") == rows


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("answers", lambda rows: rows[0].pop("nll"), "rows of answers .*: nll"),
        ("answers", lambda rows: rows[0].update(more=1), "rows of answers .*: more"),
        ("answers", lambda rows: rows[1].pop("right"), "rows of answers .*: right"),
        ("unheard", lambda rows: None, "no table of rows is called unheard"),
    ],
)
def test_rows_that_a_report_would_miss_are_refused_when_they_are_written(tmp_path, name, change, wrong):
    rows = [dict.fromkeys(COLUMNS["answers"], 0) for _ in range(2)]
    change(rows)
    with pytest.raises(ValueError, match=wrong):
        write_rows(tmp_path / f"{name}.parquet", rows)
    assert not list(tmp_path.iterdir())
