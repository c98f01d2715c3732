"""A study that is handed to a cluster, by the commands of the documentation."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.commands.status import main as status

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "study", "cluster"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def hand_in(results, dashboard):
    asked = ["submit", "configs/smoke.yaml", "--results", str(results), "--dashboard", f"http://127.0.0.1:{dashboard}"]
    return subprocess.run([*COMMAND, *asked], cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_where_no_cluster_takes_it_there_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    port = free_port()
    handed = hand_in(tmp_path, port)
    assert handed.returncode == 2
    assert f"http://127.0.0.1:{port} does not take the job" in handed.stderr
    assert "Traceback" not in handed.stderr


@pytest.mark.ray
def test_a_private_cluster_takes_no_job(cluster, tmp_path):
    handed = hand_in(tmp_path, cluster.dashboard.rpartition(":")[2])
    assert handed.returncode == 2
    assert "is a private one of a study that runs here, and ends with it: give --dashboard as" in handed.stderr
    assert "Traceback" not in handed.stderr


@pytest.mark.ray
def test_a_study_that_was_handed_in_runs_to_its_report_without_who_handed_it_in(tmp_path):
    port, dashboard = free_port(), free_port()
    own = ["--host", "127.0.0.1", "--workers", "1", "--port", str(port), "--dashboard-port", str(dashboard)]
    with subprocess.Popen([*COMMAND, "head", *own], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as head:
        try:
            assert "The cluster runs until Ctrl-C" in head.stdout.readline()
            told = "".join(head.stdout.readline() for _ in range(4))
            assert f" --results {REPOSITORY}/results/grid --dashboard http://127.0.0.1:{dashboard}\n" in told
            (tmp_path / "results").write_text("no folder")
            handed = hand_in(tmp_path / "results", dashboard)
            assert handed.returncode == 2
            assert re.search(r"raysubmit_\w+ failed on the cluster; its last output:\n(.*\n)*.*results", handed.stderr)
            (tmp_path / "results").unlink()
            impatient = (
                "import sys, actors.jobs; actors.jobs.BEGIN_SECONDS = 0; from study.commands.cluster import main; "
            )
            asked = ["submit", "configs/smoke.yaml", "--results", str(tmp_path / "other"), "--dashboard"]
            command = [sys.executable, "-c", f"{impatient}sys.exit(main(sys.argv[1:]))", *asked]
            command.append(f"http://127.0.0.1:{dashboard}")
            handed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            assert handed.returncode == 2
            assert "has not begun within 0 seconds, and may yet" in handed.stderr
            assert "no longer needs this machine" not in handed.stdout
            handed = hand_in(tmp_path / "results", dashboard)
            assert handed.returncode == 0, handed.stderr
            assert "runs on the cluster and no longer needs this machine" in handed.stdout
            report = tmp_path / "results" / "report.md"
            deadline = time.monotonic() + 500
            # The report grows while the study runs.
            while not report.is_file() or status([str(tmp_path / "results")]):
                assert time.monotonic() < deadline
                time.sleep(0.5)
        finally:
            os.kill(head.pid, signal.SIGTERM)
