"""A Ray cluster to run on: a private one on this machine, or one that is already there.

A private cluster listens on 127.0.0.1 only and ends with the program.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import RaySettings

RESOURCE = "mlx"
"""The Ray resource that a unit takes one of: a slot for one process with one model."""
OBJECT_STORE_BYTES = 200_000_000
"""Results go through files, so Ray's own store stays small."""

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


@dataclass(frozen=True)
class Share:
    """How a private cluster divides this machine."""

    workers: int
    threads: int
    """BLAS threads of each worker."""


def share(settings: RaySettings) -> Share:
    """One worker on a Mac, whose GPU serves one process at a time; otherwise one a core, unless the settings say."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    automatic = 1 if sys.platform == "darwin" else cores
    workers = automatic if settings.workers == "auto" else settings.workers
    return Share(workers, max(1, cores // workers))


def blas_threads(threads: int) -> dict[str, str]:
    """The environment of a process whose matrix products use this many threads."""
    return {f"{library}_NUM_THREADS": str(threads) for library in ("MKL", "OPENBLAS", "OMP")}


@contextmanager
def connect(settings: RaySettings, address: str | None = None) -> Iterator[Cluster]:
    """A private cluster, or the one at `address`; left at the end. Raises ClusterError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0" if address is None else "1")
    import ray

    context = _start(settings) if address is None else _join(address)
    try:
        _protect_token()
        slots = int(ray.cluster_resources().get(RESOURCE, 0))
        if slots < 1:
            raise ClusterError(
                f"no node of the cluster offers the resource {RESOURCE!r}, so nothing would ever run; "
                f"start its nodes with: ray start … --resources='{{\"{RESOURCE}\": 1}}'"
            )
        yield Cluster(slots, f"http://{context.dashboard_url}" if context.dashboard_url else "not running")
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
                resources={RESOURCE: divided.workers},
                num_cpus=divided.workers,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                dashboard_port=_free_port(settings.dashboard_port),
                # For the whole job: a task with an environment of its own gets a new process.
                runtime_env={"env_vars": blas_threads(divided.threads)},
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

    _check_reachable(address)
    try:
        return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of any type: Ray raises bare ones
        raise ClusterError(f"the Ray cluster at {address} cannot be joined: {' '.join(str(error).split())}") from error


def _check_reachable(address: str) -> None:
    """Raises ClusterError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ClusterError(f"--address {address}: must be HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address} ({error}); start one with "
            f"`ray start --head --port={port} --resources='{{\"{RESOURCE}\": 1}}'`, or leave --address out"
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


def _protect_token() -> None:
    """Ray leaves the token that opens its cluster readable by everybody on the machine."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file():
        token.chmod(0o600)
