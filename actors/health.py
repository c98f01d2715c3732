"""Whether the cluster of a run is alive: Ray itself waits for a dead part of it, or ends the program without a word."""

import math
import socket
import time
from contextlib import suppress

import psutil

from actors.cluster import ClusterLostError

NAMES = ("gcs_server", "raylet")
"""Processes of Ray without which a cluster is lost."""
UNREACHABLE_SECONDS = 10.0
"""Time without a connection to the cluster's head after which it counts as lost."""
PROBE_SECONDS = 2.0
"""Time between two looks at the head."""


class Health:
    """Looks after the cluster to which this process is connected."""

    def __init__(self, head: str, private: bool) -> None:
        """`head`: HOST:PORT of its head. A private cluster's processes descend from this one."""
        self._head, self._private = head, private
        self._answered, self._looked = time.monotonic(), -math.inf
        self._own: list[psutil.Process] = []
        self._vital = [(one, one.name()) for one in _descendants() if one.name() in NAMES] if private else []

    def check(self) -> None:
        """Raises ClusterLostError where the cluster has died."""
        for process, name in self._vital:
            if not _lives(process):
                raise self.lost(f"Ray's {name} has died")
        now = time.monotonic()
        if now - self._looked >= PROBE_SECONDS:
            self._looked = now
            self._own = _descendants() if self._private else []
            if _answers(self._head):
                self._answered = time.monotonic()
            elif now - self._answered > UNREACHABLE_SECONDS:
                raise self.lost(f"the head of the cluster, {self._head}, does not answer")

    def lost(self, reason: str) -> ClusterLostError:
        """Kill what is left of a private cluster, since Ray's own end would wait a minute for what has died and workers
        would compute on in the meantime; return the error to raise."""
        for process in self._own:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return ClusterLostError(reason)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has ended in between
        return False


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _answers(head: str) -> bool:
    host, _, port = head.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True
