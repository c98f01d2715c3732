"""A study as a job of a cluster: it is submitted, and watched until it begins."""

import logging
import shlex
import time
from collections.abc import Sequence
from typing import Any

from actors.cluster import AT_A_TIME, PRIVATE, RESOURCE, ClusterError
from actors.environment import AUTH_MODE

AGENT_SECONDS = 90.0
"""How long a job waits for the agent that takes it; Ray itself waits 10 seconds at each attempt."""
BEGIN_SECONDS = 180.0
"""How long a job is watched until it begins."""
LOG_LINES = 12
"""Of the output of a job that failed, that are shown."""


def submit_study(command: Sequence[str], dashboard: str) -> str:
    """Submit the command of a run to a cluster as a job, with the code of this folder, and watch it until it has its
    cluster; return the job's id.

    Ray starts the agent that takes jobs some time after the dashboard: it is waited for, AGENT_SECONDS at most. Raises
    ClusterError where nothing takes the job, the cluster is a private one, or the job fails or does not
    begin.
    """
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    deadline = time.monotonic() + AGENT_SECONDS
    try:
        client = JobSubmissionClient(dashboard)
        _check_for_jobs(dashboard)
        while True:
            try:
                job: str = client.submit_job(entrypoint=shlex.join(command), runtime_env={"working_dir": "."})
                break
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1)
        _watch(client, job)
    except (ConnectionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"{dashboard} does not take the job: {reason}; is it the head's dashboard?") from error
    return job


def _check_for_jobs(dashboard: str) -> None:
    """Raises ClusterError where the cluster of a dashboard is a private one, or none for studies."""
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        nodes = list_nodes(address=dashboard, filters=[("state", "=", "ALIVE")])
    except RayStateApiException as error:
        raise ConnectionError(str(error)) from error
    offered = {name for node in nodes for name in node.resources_total}
    if PRIVATE in offered:
        raise ClusterError(
            f"the cluster of {dashboard} is a private one of a study that runs here, and ends with it: give "
            "--dashboard as `study cluster head` prints it"
        )
    if RESOURCE not in offered:
        raise ClusterError(
            f"no node of the cluster of {dashboard} offers the resource {RESOURCE!r}, so nothing would ever run; "
            "start its nodes with `study cluster head` and `study cluster join`"
        )


def _watch(client: Any, job: str) -> None:
    """Wait until a job begins. Raises ClusterError where it fails before, or has not begun in BEGIN_SECONDS."""
    deadline = time.monotonic() + BEGIN_SECONDS
    while time.monotonic() < deadline:
        status, said = str(client.get_job_status(job).value), str(client.get_job_logs(job))
        if status in ("FAILED", "STOPPED"):
            last = "\n".join(said.strip().splitlines()[-LOG_LINES:]) or client.get_job_info(job).message
            raise ClusterError(f"{job} {status.lower()} on the cluster; its last output:\n{last}")
        if status == "SUCCEEDED" or AT_A_TIME in said:
            return
        time.sleep(1)
    raise ClusterError(
        f"{job} has not begun within {BEGIN_SECONDS:.0f} seconds, and may yet: `ray job logs` and `ray job stop` with "
        f"its name show and end it, on the head machine with {AUTH_MODE}=token"
    )
