"""A cluster that dies under a run: one sentence, an exit code of its own, nothing left of it, and the run goes on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from study.commands.run import LOST

CONFIGS = Path(__file__).parents[2] / "configs"
SECONDS = 15.0

pytestmark = pytest.mark.ray


def begin(folder: Path) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """Start a run; return it, and all that it has started, once its first training has begun."""
    study = (CONFIGS / "smoke.yaml").read_text().replace("stage1:\n  steps: 30", "stage1:\n  steps: 100000")
    (folder / "long.yaml").write_text(study)
    (folder / "models.yaml").write_text((CONFIGS / "models.yaml").read_text())
    command = [sys.executable, "-m", "study.grid", str(folder / "long.yaml"), "--results", str(folder / "results")]
    command += ["--report", str(folder / "report.md")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list((folder / "results" / "tmp").glob("*stage1*")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(4)  # in which the run has looked at its processes again
    return run, psutil.Process(run.pid).children(recursive=True)


def living(family: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended after SECONDS."""
    return [one for one in psutil.wait_procs(family, timeout=SECONDS)[1] if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_private_cluster_that_dies_ends_the_run_with_one_sentence(tmp_path: Path, part: str) -> None:
    """Ray 2.60 by itself waits for a minute for its GCS, then aborts, and prints its logs where a raylet dies."""
    run, family = begin(tmp_path)
    with run:
        (victim,) = (one for one in family if one.name() == part)
        victim.kill()
        killed = time.monotonic()
        said, error = run.communicate(timeout=300)
    assert time.monotonic() - killed < SECONDS
    assert run.returncode == LOST
    assert f"The Ray cluster was lost: Ray's {part} has died. What has finished is kept in" in error
    assert [line for line in error.splitlines() if not line.startswith("checking ")] == [error.splitlines()[-1]]
    assert "raylet)" not in said
    assert not living(family)


def test_nothing_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    """Ray 2.60's two agents would, for up to a minute: they report that their raylet died to a GCS that died too."""
    run, family = begin(tmp_path)
    assert {"gcs_server", "raylet", "ray::DashboardAg", "ray::RuntimeEnvA"} <= {one.name()[:16] for one in family}
    with run:
        run.kill()
        assert not living(family)


def test_studies_that_start_at_the_same_moment_all_succeed_without_a_word_of_ray(tmp_path: Path) -> None:
    runs = []
    for number in range(3):
        command = [sys.executable, "-m", "study.grid", str(CONFIGS / "smoke.yaml"), "--results"]
        command += [str(tmp_path / str(number)), "--report", str(tmp_path / f"{number}.md")]
        runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for run in runs:
        said, error = run.communicate()
        assert run.returncode == 0, said + error
        assert "5 done, 0 skipped, 0 failed" in said
        assert not [line for line in error.splitlines() if not line.startswith("checking ")]


def test_a_connection_that_fails_for_a_moment_costs_nothing(tmp_path: Path) -> None:
    """Ray 2.60 gives a call up at the first connection that times out, as happens between the processes of one machine
    that has more work than cores, unless the actor has `max_task_retries`. Here each process fails its first calls."""
    failing = json.dumps({"CoreWorkerService.grpc_client.PushTask": {"num_failures": 4, "req_failure_prob": 100}})
    command = [sys.executable, "-m", "study.grid", str(CONFIGS / "smoke.yaml"), "--results", str(tmp_path / "results")]
    command += ["--report", str(tmp_path / "report.md")]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "RAY_testing_rpc_failure": failing}
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 done, 0 skipped, 0 failed" in ran.stdout
