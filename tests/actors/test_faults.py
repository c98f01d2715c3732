"""Workers that hang, machines that share no folder, and Ctrl-C: a real cluster, real processes."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors import driver as drivers
from actors import worker
from actors.cluster import ClusterError
from actors.driver import Driver
from actors.nodes import problems, survey
from soak.ground import quick, starts, units_of
from study.config.study import RaySettings
from study.config.units import foundations
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.files import UnwritableError, write_json
from study.results.finished import PROGRESS
from study.results.store import Store
from tests.pipeline.test_nursery import units_of as nursery_units

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"
QUICK = RaySettings(in_flight=2, stack=2)

pytestmark = pytest.mark.ray


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def states(driver):
    return [ended.outcome.state for ended in driver.carry_out(poll_seconds=0.1) if ended]


def test_a_worker_that_hangs_is_ended_and_its_unit_run_again(cluster, store, monkeypatch):
    monkeypatch.setattr(drivers, "SILENT_SECONDS", 8.0)
    first = units_of(10)[:1]

    def hang(units, results):
        if len(list((results / "starts" / units[0].id).glob("*"))) == 0:
            quick(0.0)(units, results)  # so that the attempt is counted, and its result
            Store(results).folder(units[0]).rename(results / "taken-away")
            os.kill(os.getpid(), signal.SIGSTOP)
        return quick(0.1)(units, results)

    assert states(Driver(first, store, QUICK, 2, hang)) == ["done"]
    assert starts(store, first[0]) == 2


def test_a_unit_without_progress_is_ended_though_its_process_lives(cluster, store):
    (unit,) = units_of(10)[:1]

    def stuck(units, results):
        folder = Store(results).begin(units[0])
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        write_json(folder / PROGRESS, {"label": "a", "stage": "stage 1", "step": 1, "steps": 9, **process})
        time.sleep(600)
        return []

    settings = QUICK.model_copy(update={"quiet_minutes": 0.1})
    (state,) = states(Driver([unit], store, settings, 2, stuck))
    assert state == "failed"
    assert "made no progress for" in store.status(unit).reason
    assert "and again when retried" in store.status(unit).reason


@pytest.mark.parametrize("made", ["smoke", "nursery"])
def test_units_of_a_machine_that_shares_no_folder_arrive_through_ray(cluster, store, monkeypatch, made):
    @contextmanager
    def unseen(root):
        root.mkdir(parents=True, exist_ok=True)
        yield ".a-file-that-no-worker-sees"

    monkeypatch.setattr(drivers, "marked", unseen)
    plan = read_study(SMOKE)
    units = expand(plan.study, plan.models) if made == "smoke" else nursery_units()
    driver = Driver(units, store, QUICK, 2, travels=True)
    assert states(driver) == ["done"] * len(units)
    cell = units[-1]
    assert {file.name for file in store.folder(cell).iterdir()} >= {"done.json", "answers.parquet", "lens.parquet"}
    elsewhere = Store(worker.scratch(store.root))
    needed = {one.id for unit in units for one in foundations(unit)}  # kept for the cells to come
    assert {unit.id for unit in units if elsewhere.is_done(unit)} == needed
    assert list((store.root / "tmp").glob("*")) == []


def test_a_damaged_foundation_is_sent_to_no_machine_and_its_unit_runs_at_the_next_run(cluster, store):
    first, reference, *_ = units_of(10)
    for unit in (first, reference):
        assert states(Driver([unit], store, QUICK, 2, quick(0.0))) == ["done"]
    shutil.rmtree(store.folder(reference))
    flipped = store.folder(first) / "unit.json"
    flipped.write_bytes(flipped.read_bytes().replace(b"stage1", b"stage2", 1))
    assert states(Driver([reference], store, QUICK, 2, quick(0.0), travels=True)) == ["failed"]
    assert store.status(reference).state == "run"
    assert "unit.json is corrupt: its SHA-256 is not that of what was written" in store.status(reference).reason


def test_a_machine_with_another_version_of_the_program_ends_the_run_and_is_no_fault_of_the_unit(
    cluster, store, monkeypatch
):
    monkeypatch.setattr(drivers, "code_fingerprint", lambda: "00000000")
    (unit,) = units_of(10)[:1]
    with pytest.raises(ClusterError, match=r"runs another version of the program .* check out the same commit on both"):
        states(Driver([unit], store, QUICK, 2, quick(0.0)))
    assert store.status(unit).state == "run"
    assert starts(store, unit) == 0


def test_a_folder_that_cannot_be_written_ends_the_run_and_is_no_fault_of_the_unit(cluster, store):
    def full(units, results):
        raise UnwritableError(errno.ENOSPC, "No space left on device", str(results))

    (unit,) = units_of(10)[:1]
    with pytest.raises(UnwritableError, match="No space left on device; free some space"):
        states(Driver([unit], store, QUICK, 2, full))
    assert store.status(unit).reason == "no result yet"


def test_a_results_folder_that_is_removed_ends_the_run_and_is_no_fault_of_the_units(cluster, store):
    ends = Driver(units_of(10), store, QUICK, 2, quick(0.0)).carry_out(poll_seconds=0.1)
    assert next(filter(None, ends)).outcome.state == "done"
    shutil.rmtree(store.root)
    with pytest.raises(UnwritableError, match="results cannot be written: it is no longer there; name another place"):
        list(ends)
    assert not (store.root / "unfinished").exists()


def test_once_a_stop_is_asked_for_units_that_run_end_and_no_other_begins(cluster, store):
    units = units_of(40)
    driver = Driver(units, store, QUICK, 2, quick(0.5))
    ended = 0
    for one in driver.carry_out(poll_seconds=0.1):
        ended += one is not None
        if ended == 4:
            driver.stop.asked = True
    begun = [unit for unit in units if starts(store, unit)]
    assert 4 <= len(begun) < 14
    assert all(store.is_done(unit) for unit in begun)
    assert list((store.root / "unfinished").glob("*")) == []


def test_a_cell_whose_steps_cannot_be_read_is_no_hindrance_to_stacks_that_grow(cluster, store):
    units = units_of(10)  # whose tables are empty
    assert states(Driver(units, store, QUICK, 2, quick(0.0), stacks_grow=True)) == ["done"] * len(units)


def test_a_survey_finds_this_machine_fit(cluster, tmp_path):
    from actors.nodes import marked

    with marked(tmp_path) as mark:
        nodes = survey(tmp_path, mark)
    assert problems(nodes) == []
    (node,) = nodes
    assert node.facts.shares
    assert node.slots == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_lets_running_units_end_and_a_second_one_does_not(tmp_path, again):
    slow = tmp_path / "slow.yaml"
    slow.write_text(SMOKE.read_text().replace("stage1:\n  steps: 30", "stage1:\n  steps: 120"))
    (tmp_path / "models.yaml").write_text((SMOKE.parent / "models.yaml").read_text())
    command = [sys.executable, "-m", "study.grid", str(slow), "--results", str(tmp_path / "results")]
    command += ["--report", str(tmp_path / "report.md")]
    store, plan = Store(tmp_path / "results"), read_study(slow)
    first, *others = expand(plan.study, plan.models)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as run:
        deadline = time.monotonic() + 300
        while not list((store.root / "tmp").glob("*stage1*")):
            assert run.poll() is None, run.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the program and all that it started
        out = ""
        while "Interrupted:" not in out:
            out += run.stdout.readline()
        if again:
            os.killpg(run.pid, signal.SIGINT)
        out += run.communicate(timeout=300)[0]
    assert run.returncode == 130, out
    assert "Interrupted. What has finished is kept" in out
    assert "Traceback" not in out
    assert store.status(first).state == ("run" if again else "done"), out
    assert {store.status(unit).state for unit in others} == {"run"}
    if not again:
        assert "Interrupted: 1 unit running will end first, and no other begins" in out
