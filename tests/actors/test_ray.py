# ruff: noqa: E402 - Ray reads its environment when it is imported
import json
import os
import re
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from actors import environment

environment.prepare(serving=False)

import ray
from ray.util.state import list_tasks
from ray.util.state.exception import RayStateApiException

from actors.cluster import RESOURCE, ClusterError, connect
from actors.driver import carry_out
from study.config.catalogue import BuiltSource, Model
from study.config.grid import Grid
from study.config.stages import Stage1
from study.config.study import RaySettings, Study
from study.config.units import StageOne
from study.plan.expand import expand
from study.results.finished import DONE
from study.results.store import Ending, Store
from tests.finished import complete

STUDY = Study(
    name="example",
    models=["a", "b"],
    grid=Grid(layers=[0.5], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.0, 0.5]),
)
MODELS = {name: Model(source=BuiltSource(built="llama", seed=seed), blocks=4) for seed, name in enumerate("ab")}
UNITS = expand(STUDY, MODELS)
ONE_MODEL = UNITS[:5]
LAYERS = Grid(layers=[0, 1, 2, 3], pairs=STUDY.grid.pairs, weights=[0.0, 0.5])
MANY = expand(STUDY.model_copy(update={"models": ["a"], "grid": LAYERS}), MODELS)
CELLS = MANY[3:]
"""Five that stack: w = 0, then one a layer."""

pytestmark = pytest.mark.ray


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def fake(fault=None):
    """A run that publishes its process id for every unit, and does `fault(unit, attempt)` before.

    Made here, so that it travels to the workers by value.
    """

    def run(units, results):
        for unit in units:
            attempts = results / "attempts" / unit.id
            attempts.mkdir(parents=True, exist_ok=True)
            (attempts / str(time.time_ns())).touch()
            if fault:
                fault(unit, len(list(attempts.iterdir())))
            with Store(results).attempt(unit) as folder:
                about = {"pid": os.getpid(), "threads": os.environ["OPENBLAS_NUM_THREADS"]}
                complete(folder, unit, {**about, "task": [unit.label for unit in units]})
        return [Ending("done", "finished", 0.1) for _ in units]

    return run


def ends(units, store, run, stack="auto"):
    """The outcome of every unit by label, in the order in which they ended."""
    settings = RaySettings(in_flight=2, stack=stack)
    ended = [one for one in carry_out(units, store, settings, 2, run, poll_seconds=0.1) if one]
    assert len(ended) == len({one.unit.id for one in ended}) == len(units)
    return {one.unit.label: one.outcome for one in ended}


def note(store, unit):
    return json.loads((store.folder(unit) / DONE).read_text())


def wait_for_task(name, state="FINISHED"):
    """Until Ray tells of a task of this name that ended so: its dashboard is up, and informed, a little later."""
    address = ray.get_runtime_context().gcs_address
    deadline = time.monotonic() + 300
    while True:
        with suppress(ConnectionError, RayStateApiException):
            tasks = list_tasks(address=address, limit=1000, detail=True)
            if found := [task for task in tasks if task.name == name and task.state == state]:
                return found
        assert time.monotonic() < deadline, tasks
        time.sleep(0.5)


def attempts(store, unit):
    return len(list((store.root / "attempts" / unit.id).glob("*")))


def test_a_private_cluster_offers_its_slots_and_a_dashboard_on_this_machine_only(cluster):
    assert cluster.slots == ray.cluster_resources()[RESOURCE] == 2
    assert re.fullmatch(r"http://127\.0\.0\.1:18\d+", cluster.dashboard)
    assert stat.S_IMODE((Path.home() / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}


def test_every_unit_runs_once_in_workers_that_stay_and_share_the_cores(cluster, store):
    outcomes = ends(UNITS, store, fake())
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert len(outcomes) == len(UNITS) == 10
    notes = [note(store, unit) for unit in UNITS]
    assert len({one["pid"] for one in notes}) <= 2
    assert os.getpid() not in {one["pid"] for one in notes}
    assert {one["threads"] for one in notes} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    assert {attempts(store, unit) for unit in UNITS} == {1}


def test_a_task_is_named_so_that_a_person_reads_what_runs(cluster, store):
    ends(ONE_MODEL, store, fake())
    wait_for_task("a|L1|multiply-add|w=0.5|s0")


def test_a_unit_that_fails_is_a_failed_task_with_its_reason_and_is_not_retried(cluster, store):
    bad, finish = UNITS[-1], fake()
    identity = bad.id

    def run(units, results):
        (unit,) = units
        if unit.id != identity:
            return finish(units, results)
        Store(results).record(unit, "failed", "the loss is NaN")
        return [Ending("failed", "the loss is NaN", 0.1)]

    outcomes = ends(UNITS, store, run, stack=1)
    assert [label for label, outcome in outcomes.items() if outcome.state != "done"] == [bad.label]
    assert outcomes[bad.label].reason == store.status(bad).reason == "the loss is NaN"
    (task,) = wait_for_task(bad.label, "FAILED")
    assert f"{bad.label}: failed: the loss is NaN" in task.error_message
    assert task.attempt_number == 0


def test_a_stack_of_cells_is_one_task_with_a_name_that_says_what_they_range_over(cluster, store):
    outcomes = ends(MANY, store, fake(), stack=3)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    tasks = [note(store, cell)["task"] for cell in CELLS]
    assert tasks == [[cell.label for cell in CELLS[:3]]] * 3 + [[cell.label for cell in CELLS[3:]]] * 2
    assert {attempts(store, unit) for unit in MANY} == {1}
    wait_for_task("a|3 cells|L0-L1|multiply-add|w=0,0.5|s0")
    wait_for_task("a|2 cells|L2-L3|multiply-add|w=0.5|s0")


def test_a_stack_of_one_gives_every_cell_a_task(cluster, store):
    ends(MANY, store, fake(), stack=1)
    assert [note(store, cell)["task"] for cell in CELLS] == [[cell.label] for cell in CELLS]


def test_a_stack_whose_worker_dies_is_run_again_cell_by_cell_and_stops_at_the_one_that_kills_it(cluster, store):
    bad = CELLS[2].id

    def crash(unit, attempt):
        if unit.id == bad:
            os.abort()

    outcomes = ends(MANY, store, fake(crash), stack=5)
    assert [label for label, outcome in outcomes.items() if outcome.state == "failed"] == [CELLS[2].label]
    assert "the worker process died, and died again when retried" in store.status(CELLS[2]).reason
    assert attempts(store, CELLS[2]) == 2
    assert [store.status(cell).state for cell in CELLS] == ["done", "done", "failed", "done", "done"]
    assert note(store, CELLS[3])["task"] == [CELLS[3].label]
    assert not list((store.root / "unfinished").glob(f"*{CELLS[0].id}*"))


def test_an_unexpected_error_in_a_stack_is_that_of_its_cell_alone(cluster, store):
    bad = CELLS[2].id

    def fault(unit, attempt):
        if unit.id == bad:
            raise ZeroDivisionError("by zero")

    outcomes = ends(MANY, store, fake(fault), stack=5)
    assert [label for label, outcome in outcomes.items() if outcome.state == "failed"] == [CELLS[2].label]
    assert store.status(CELLS[2]).reason == "ZeroDivisionError: by zero"


def test_a_crashed_worker_is_retried_once_then_recorded_and_the_grid_goes_on(cluster, store):
    *_, without, cell = ONE_MODEL
    bad = without.id

    def crash(unit, attempt):
        if unit.id == bad:
            os.abort()

    outcomes = ends(ONE_MODEL, store, fake(crash))
    assert outcomes[without.label].state == store.status(without).state == "failed"
    assert "the worker process died, and died again when retried (WorkerCrashedError)" in store.status(without).reason
    assert attempts(store, without) == 2
    assert outcomes[cell.label].state == "done"


def test_cells_whose_worker_died_in_their_training_go_on_from_its_checkpoints(cluster, store, tiny, tiny_study):
    first, *_, without, cell = expand(tiny_study(stage1=Stage1(steps=2, batch_size=8)), {"tiny-llama": tiny})

    def run(units, results):
        from study.pipeline.units import run_units
        from study.training.loop import TrainingData

        real = TrainingData.batch

        def batch(data, tokenizer, step, size):
            if (size, step) == (4, 9) and len(units) > 1:
                os.abort()
            with (results / "steps.txt").open("a") as file:
                file.write(f"{size} {step}\n")
            return real(data, tokenizer, step, size)

        TrainingData.batch = batch
        try:
            return run_units(units, results, checkpoint_every=5)
        finally:
            TrainingData.batch = real

    outcomes = ends([first, without, cell], store, run, stack=2)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    begun = [tuple(map(int, line.split())) for line in (store.root / "steps.txt").read_text().splitlines()]
    together, alone = [(4, step) for step in range(1, 9)], [(4, step) for step in range(6, 13)]
    assert sorted(begun) == sorted([(8, 1), (8, 2), *together, *alone, *alone])
    assert note(store, cell)["resumed_at_step"] == note(store, without)["resumed_at_step"] == 5
    assert not list((store.root / "checkpoints").iterdir())


@pytest.mark.parametrize("every", [0, 1])
def test_workers_keep_checkpoints_as_often_as_the_settings_say(cluster, store, tiny, tiny_study, every):
    first, *_ = expand(tiny_study(stage1=Stage1(steps=40)), {"tiny-llama": tiny})
    seen = []
    for ended in carry_out([first], store, RaySettings(checkpoint_every=every), 2, poll_seconds=0.02):
        seen.append(store.checkpoint(first).is_file())
        assert ended is None or ended.outcome.state == "done"
    assert any(seen) == bool(every)


def test_an_error_of_the_file_system_is_retried(cluster, store):
    def fault(unit, attempt):
        if attempt == 1:
            raise OSError("stale file handle")

    outcomes = ends(ONE_MODEL, store, fake(fault))
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert {attempts(store, unit) for unit in ONE_MODEL} == {2}


def test_an_unexpected_error_is_recorded_with_its_traceback_and_not_retried(cluster, store):
    bad = ONE_MODEL[-1]
    identity = bad.id

    def fault(unit, attempt):
        if unit.id == identity:
            raise ZeroDivisionError("by\nzero")

    outcomes = ends(ONE_MODEL, store, fake(fault))
    assert [label for label, outcome in outcomes.items() if outcome.state == "failed"] == [bad.label]
    assert store.status(bad).reason == "ZeroDivisionError: by zero"
    (record,) = (store.root / "unfinished").glob("*.json")
    detail = json.loads(record.read_text())["detail"]
    assert "in fault" in detail
    assert "\x1b" not in detail
    assert attempts(store, bad) == 1


def test_cells_whose_stage_1_failed_are_recorded_and_not_run(cluster, store):
    others = ONE_MODEL[1:]

    def fault(unit, attempt):
        if isinstance(unit, StageOne) and unit.model_name == "a":
            raise ValueError("the loss is NaN")

    outcomes = ends(UNITS, store, fake(fault))
    assert {outcomes[unit.label].state for unit in ONE_MODEL} == {"failed"}
    assert {outcomes[unit.label].state for unit in UNITS[5:]} == {"done"}
    assert store.status(others[-1]).reason == "its stage 1 failed: ValueError: the loss is NaN"
    assert attempts(store, others[-1]) == 0


def test_a_stage_1_that_is_done_already_is_not_run_for_its_cells(cluster, store):
    first, *others = ONE_MODEL
    run = fake()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    run([first], store.root)
    assert set(ends(others, store, run)) == {unit.label for unit in others}
    assert attempts(store, first) == 1


def test_a_result_that_cannot_be_seen_from_here_is_a_failure_with_the_cause(cluster, store):
    def elsewhere(units, results):
        return [Ending("done", "finished", 0.1) for _ in units]

    outcomes = ends(ONE_MODEL[:1], store, elsewhere)
    assert "finished the unit, but its results are not in" in outcomes[ONE_MODEL[0].label].reason


def test_a_grid_joins_a_cluster_by_its_address(cluster, tmp_path):
    smoke = Path(__file__).parents[2] / "configs" / "smoke.yaml"
    places = ["--results", str(tmp_path / "results"), "--report", str(tmp_path / "report.md")]
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "study.grid", str(smoke), "--only", "weight=0", "--address", address, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 at a time" in done.stdout
    assert "4 units: 0 to run, 4 done" in done.stdout


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", r"no Ray cluster at 127\.0\.0\.1:1 .* start one with `study cluster head --port 1`"),
        ("nowhere.invalid:6379", r"no Ray cluster at nowhere\.invalid:6379"),
        ("here", r"--address here: must be HOST:PORT"),
        ("here:99999", r"no Ray cluster at here:99999"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once_with_the_fix(address, told):
    with pytest.raises(ClusterError, match=told), connect(RaySettings(), address):
        pass
