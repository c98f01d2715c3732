"""A Ray cluster to run on: a private one on this machine, or one that is already there.

A private cluster listens on 127.0.0.1 only and ends with the program.
"""

import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from actors import environment
from study.config.study import RaySettings
from study.models import blas

RESOURCE = "mlx"
"""The Ray resource that a unit takes one of: a slot for one process with one model."""
MEMORY = "unified_gb"
"""The Ray resource that a unit takes as much of as its model and training are estimated to need."""
MEMORY_SHARE = 0.8
"""Of a machine's memory, what units may take."""
OBJECT_STORE_BYTES = 500_000_000
"""Ray's own store stays small: at most the files of some cells and adapters go through it."""
PORT = 6379
START_ATTEMPTS = 3


class ClusterError(Exception):
    """No cluster to run on; the message says what to do."""


@dataclass(frozen=True)
class Cluster:
    """A connected cluster."""

    slots: int
    """Units that run at a time."""
    dashboard: str
    """The address of Ray's dashboard."""
    memory_gb: float
    """What the node offers that offers most."""


@dataclass(frozen=True)
class Share:
    """How a private cluster divides this machine."""

    workers: int
    threads: int
    """BLAS threads of each worker."""


def share(settings: RaySettings) -> Share:
    """One worker where there is a GPU, which serves one process at a time; otherwise one a core, unless the settings
    say."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    automatic = 1 if sys.platform == "darwin" or blas.has_cuda() else cores
    workers = automatic if settings.workers == "auto" else settings.workers
    return Share(workers, max(1, cores // workers))


def resources(workers: int) -> dict[str, float]:
    """What this machine offers to units; Ray takes whole numbers."""
    return {RESOURCE: workers, MEMORY: int(MEMORY_SHARE * psutil.virtual_memory().total / 1e9)}


@contextmanager
def connect(settings: RaySettings, address: str | None = None) -> Iterator[Cluster]:
    """A private cluster, or the one at `address`; left at the end. Raises ClusterError."""
    environment.prepare(serving=address is not None and not address.startswith("127."))
    import ray

    context = _start(settings) if address is None else _join(address)
    try:
        environment.protect_token()
        slots = int(ray.cluster_resources().get(RESOURCE, 0))
        if slots < 1:
            raise ClusterError(
                f"no node of the cluster offers the resource {RESOURCE!r}, so nothing would ever run; "
                "start its nodes with `study cluster head` and `study cluster join`"
            )
        largest = max(node["Resources"].get(MEMORY, 0.0) for node in ray.nodes() if node["Alive"])
        dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else "not running"
        yield Cluster(slots, dashboard, largest)
    finally:
        ray.shutdown()


def _start(settings: RaySettings) -> Any:
    """Ray gives its own processes 15 s to start, which a busy machine may exceed, so there are several attempts."""
    import ray

    divided = share(settings)
    reason = ""
    for _ in range(START_ATTEMPTS):
        try:
            return ray.init(
                address="local",
                resources=resources(divided.workers),
                num_cpus=divided.workers,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                dashboard_port=_free_port(settings.dashboard_port),
                # For the whole job: a task with an environment of its own gets a new process.
                runtime_env={"env_vars": environment.blas_threads(divided.threads)},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except ClusterError:
            raise
        except Exception as error:  # of any type: Ray raises bare ones
            ray.shutdown()
            reason = " ".join(str(error).split())
    raise ClusterError(f"a private Ray cluster could not be started in {START_ATTEMPTS} attempts: {reason}")


def _join(address: str) -> Any:
    import ray

    check_reachable(address)
    if not environment.has_token():
        raise ClusterError(
            f"a token is needed to join {address}: copy ~/.ray/auth_token of its head machine to "
            f"{environment.token_file()}, or join this machine with `study cluster join {address}`"
        )
    try:
        return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of any type: Ray raises bare ones
        raise ClusterError(f"the Ray cluster at {address} cannot be joined: {' '.join(str(error).split())}") from error


def check_reachable(address: str) -> None:
    """Raises ClusterError where nobody listens: Ray itself would try for minutes."""
    if address == "auto":  # the cluster of the job that this process is part of
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ClusterError(f"--address {address}: must be HOST:PORT, as `study cluster head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address} ({error}); start one with "
            f"`study cluster head --port {port}`, or leave --address out"
        ) from None


def _free_port(first: int) -> int:
    """The first free port of this machine from `first` on."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ClusterError(f"no free port for the dashboard from {first} to {first + 99}: set ray.dashboard_port")


def own_address(towards: str | None = None) -> str:
    """The address by which other machines reach this one: that of the interface on the way to `towards`, HOST:PORT.

    Raises ClusterError where there is no network.
    """
    host = towards.rpartition(":")[0].strip("[]") if towards else "198.51.100.1"  # set aside for documentation
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))  # sends nothing
        except OSError as error:
            raise ClusterError(f"no network by which others reach this machine ({error}): give --host") from None
        return str(probe.getsockname()[0])


def submit_job(command: Sequence[str], dashboard: str) -> str:
    """Hand a command to a cluster as a job, with the code of this folder; the job's name. Raises ClusterError."""
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        client = JobSubmissionClient(dashboard)
        job: str = client.submit_job(entrypoint=shlex.join(command), runtime_env={"working_dir": "."})
    except (ConnectionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"{dashboard} does not take the job: {reason}; is it the head's dashboard?") from error
    return job
