"""Connections to a Ray cluster: a private one on this machine, or one that already runs.

A private cluster listens on 127.0.0.1 only and ends with the program.
"""

import logging
import math
import os
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from actors import environment
from actors.reaper import Reaper
from study.config.study import RaySettings
from study.models import blas

RESOURCE = "mlx"
"""The Ray resource of which a task takes one: a slot for one process with one model."""
MEMORY = "unified_gb"
"""The Ray resource of which a task takes as many GB as its model and training are estimated to need."""
PRIVATE = "private"
"""The Ray resource by which a private cluster is known as one, which ends with its study and is no place for others."""
MEMORY_SHARE = 0.8
"""Share of a machine's memory that units may take."""
OBJECT_STORE_BYTES = 500_000_000
"""Size of Ray's object store, which is small: at most the files of some cells and adapters go through it."""
PORT = 6379
"""Port of a cluster's head, where none is given."""
AT_A_TIME = "at a time"
"""Words that a run prints once it has its cluster."""
START_ATTEMPTS = 3
ENDING = "end of the cluster"
"""Name of the thread in which a cluster is ended."""
TEMPORARY = Path("/tmp")
"""Folder in which the sessions of this user's clusters lie: paths of sockets may have about 100 characters."""
SESSION_DAYS = 7.0
"""How long the logs of a cluster that has ended are kept."""
KEPT_SESSIONS, ENDED_SECONDS = 10, 3600.0
"""Of so many at most; and for how long one has written nothing that is taken to have ended."""


class ClusterError(Exception):
    """There is no cluster to run on, or it cannot be used; the message says what to do."""


class ClusterLostError(ClusterError):
    """The cluster died under a run."""


@dataclass(frozen=True)
class Cluster:
    """A connected cluster."""

    slots: int
    """Number of tasks that run at a time."""
    dashboard: str
    """Address of Ray's dashboard."""
    memory_gb: float
    """Memory that the node with the most offers to units, GB."""
    head: str
    """Address of its head, HOST:PORT."""


@dataclass(frozen=True)
class Share:
    """The division of this machine's cores among the workers of a cluster."""

    workers: int
    """Number of workers."""
    threads: int
    """BLAS threads of each worker."""


def share(settings: RaySettings) -> Share:
    """Return the workers that the settings give or, if they do not: one with a GPU, which serves one process at a time,
    else one for each core."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    automatic = 1 if sys.platform == "darwin" or blas.has_cuda() else cores
    workers = automatic if settings.workers == "auto" else max(1, settings.workers)
    return Share(workers, max(1, cores // workers))


def resources(workers: int) -> dict[str, float]:
    """Return the Ray resources that this machine offers to units, in whole numbers, as Ray requires."""
    return {RESOURCE: workers, MEMORY: int(MEMORY_SHARE * psutil.virtual_memory().total / 1e9)}


@contextmanager
def connect(settings: RaySettings, address: str | None = None, job: str = "") -> Iterator[Cluster]:
    """Connect to a private cluster, or to the one at `address`, as a job of this name, and disconnect at the end.

    A private cluster is ended in a thread, which takes a second or two; the program ends after it. Where the program is
    killed, the cluster ends too. Raises ClusterError where it cannot connect, or no node offers slots.
    """
    if "ray" in sys.modules and not environment.asks_for_token():
        raise ClusterError(
            f"Ray was imported before this program could tell it to use a token: import it later, or set "
            f"{environment.AUTH_MODE}=token before"
        )
    environment.prepare(serving=address is not None and not address.startswith("127."))
    import ray

    wait_for_the_last_one()
    named = ray.job_config.JobConfig(metadata={"job_name": job}) if job else None
    reaper = Reaper() if address is None else None
    try:
        context = _start(settings, named) if address is None else _join(address, named)
        environment.protect_token()
        _keep_logs_to_itself(ray)
        slots = int(ray.cluster_resources().get(RESOURCE, 0))
        if slots < 1:
            raise ClusterError(
                f"no node of the cluster offers the resource {RESOURCE!r}, so nothing would ever run; "
                "start its nodes with `study cluster head` and `study cluster join`"
            )
        largest = max(node["Resources"].get(MEMORY, 0.0) for node in ray.nodes() if node["Alive"])
        dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else "not running"
        yield Cluster(slots, dashboard, largest, ray.get_runtime_context().gcs_address)
    finally:
        lost = isinstance(sys.exception(), ClusterLostError)  # Ray's own end would wait a minute for what has died
        threading.Thread(target=_end, args=[reaper, lost], name=ENDING).start()


def _end(reaper: Reaper | None, lost: bool) -> None:
    import ray

    if not lost:
        ray.shutdown()
    if reaper:
        reaper.release()


def _keep_logs_to_itself(ray: Any) -> None:
    """Ray prints the last lines of its logs to standard output where a part of it or a worker dies, as `(raylet) …`,
    though `log_to_driver` is off; its debugger turns that off in this way, and there is no other."""
    ray._private.worker._worker_logs_enabled = False


def wait_for_the_last_one() -> None:
    """Wait until a cluster to which this process was connected has ended."""
    for ending in [thread for thread in threading.enumerate() if thread.name == ENDING]:
        ending.join()


def _start(settings: RaySettings, job: Any) -> Any:
    """Start a private cluster, in several attempts: Ray waits 15 s for its processes, which may be too short.

    Raises ClusterError.
    """
    import ray
    from filelock import FileLock

    divided, sessions = share(settings), sessions_folder()
    reason = ""
    for _ in range(START_ATTEMPTS):
        # One at a time: two that start together would find the same ports free, and one of them wait for its own.
        # Workers inherit their BLAS threads: one with an environment of its own would be another process than those
        # with which Ray begins.
        with FileLock(sessions.parent / "starting.lock"), environment.within(environment.blas_threads(divided.threads)):
            try:
                environment.ensure_token()  # or Ray would make one that others can read
                return ray.init(
                    address="local",
                    job_config=job,
                    resources={**resources(divided.workers), PRIVATE: 1},
                    num_cpus=divided.workers,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(sessions),
                    include_dashboard=True,
                    dashboard_host="127.0.0.1",
                    dashboard_port=free_port(settings.dashboard_port),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except ClusterError:
                raise
            except Exception as error:  # of any type: Ray raises bare ones
                ray.shutdown()
                reason = " ".join(str(error).split())
    raise ClusterError(f"a private Ray cluster could not be started in {START_ATTEMPTS} attempts: {reason}")


def _join(address: str, job: Any) -> Any:
    import ray

    check_reachable(address)
    if not environment.has_token():
        raise ClusterError(
            f"a token is needed to join {address}: copy ~/.ray/auth_token of its head machine to "
            f"{environment.token_file()}, or join this machine with `study cluster join {address}`"
        )
    try:
        return ray.init(address=address, job_config=job, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of any type: Ray raises bare ones
        raise ClusterError(f"the Ray cluster at {address} cannot be joined: {' '.join(str(error).split())}") from error


def sessions_folder() -> Path:
    """Return the folder in which Ray keeps the sockets and logs of this user's clusters; old ones are removed.

    Ray lets everybody into the folders that it makes, so this lies in one that only the user can enter. Raises
    ClusterError where others can enter.
    """
    private = TEMPORARY / f"study-{os.getuid()}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        found = private.lstat()
    except OSError as error:
        raise ClusterError(f"Ray needs the folder {private}, which cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ClusterError(
            f"{private} must be a folder of yours that nobody else can enter, since Ray keeps its sockets and logs "
            "there: remove it, and it is made again"
        )
    sessions = private / "ray"
    _remove_old(sessions)
    return sessions


def _remove_old(sessions: Path) -> None:
    """Remove what ended clusters left whose last word is older than SESSION_DAYS, and all but the newest ones; a
    cluster that runs writes to its logs."""
    now = time.time()
    words = {session: _last_word(session) for session in sessions.glob("session_*") if not session.is_symlink()}
    newest_first = sorted(words, key=words.__getitem__, reverse=True)
    for place, session in enumerate(newest_first):
        silent = now - words[session]
        if silent > 86400 * SESSION_DAYS or (place >= KEPT_SESSIONS and silent > ENDED_SECONDS):
            shutil.rmtree(session, ignore_errors=True)


def _last_word(session: Path) -> float:
    """Return when something in a session's folder was last written, in seconds since 1970."""
    try:
        return max(one.stat().st_mtime for one in [session, *session.glob("logs/*")])
    except FileNotFoundError:  # it is being written or removed
        return math.inf


def check_reachable(address: str) -> None:
    """Raises ClusterError where nothing listens at `address`, since Ray itself would try for minutes."""
    if address == "auto":  # the cluster of the job that this process is part of
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and len(port) <= 5):
        raise ClusterError(f"--address {address}: must be HOST:PORT, as `study cluster head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError, ValueError) as error:  # of the last kind are names that no machine can have
        raise ClusterError(
            f"no Ray cluster at {address} ({error}); start one with "
            f"`study cluster head --port {port}`, or leave --address out"
        ) from None


def free_port(first: int) -> int:
    """Return the first free port of this machine from `first` on. Raises ClusterError where 100 are taken."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ClusterError(f"no free port from {first} to {first + 99}: end other clusters, or set ray.dashboard_port")


def own_address(towards: str | None = None) -> str:
    """Return the address by which other machines reach this one: that of its interface to `towards`, HOST:PORT.

    Raises ClusterError where there is no network.
    """
    host = towards.rpartition(":")[0].strip("[]") if towards else "198.51.100.1"  # reserved for documentation
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))  # sends nothing
        except OSError as error:
            raise ClusterError(f"no network by which others reach this machine ({error}): give --host") from None
        return str(probe.getsockname()[0])
