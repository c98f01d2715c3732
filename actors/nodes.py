"""Checks of every machine of a cluster before a study runs on it, and the problems that have to be fixed first."""

import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from actors import environment
from actors.cluster import MEMORY, RESOURCE
from study.results.files import quiet
from study.version import code_fingerprint

PATIENCE_SECONDS = 60.0
"""Time that a node may take to answer."""
SHARED_SECONDS = 10.0
"""Time that a shared folder may take to show a file that another machine has written."""
LEAST_DISK_GB = 2.0
"""Free disk space that a node needs."""
MARK = ".shared-"
"""Beginning of the name of the file by which a machine sees whether it shares the results folder."""
MARK_SECONDS = 3600.0
"""After which nobody looks for a mark any more: nodes are looked at for seconds."""

MUST_MATCH = {
    "python": "use the same Python on every machine, patch version included",
    "ray": "install the locked packages (`make`) on every machine",
    "mlx": "install the locked packages (`make`) on every machine",
    "mlx-lm": "install the locked packages (`make`) on every machine",
    "study": "check out the same commit on every machine",
}


@dataclass(frozen=True)
class Facts:
    """Facts about one machine."""

    host: str
    versions: dict[str, str]
    device: str
    on_gpu: bool
    """Whether MLX computes on a GPU there."""
    memory_gb: float
    free_memory_gb: float
    free_disk_gb: float
    shares: bool
    """Whether it sees the results folder of the machine that runs the study."""
    can_write: bool
    """Whether it can write to that folder or, if it does not share it, to its own cache."""
    asks_for_token: bool
    """Whether its Ray refuses connections without the cluster's token."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    """Ray's id of the node."""
    address: str
    offers: dict[str, float]
    """Its Ray resources."""
    facts: Facts | None
    """Facts about the machine; None if it did not answer."""
    reason: str = ""
    """The reason why it did not answer."""

    @property
    def name(self) -> str:
        return f"{self.facts.host} ({self.address})" if self.facts else self.address

    @property
    def slots(self) -> int:
        return int(self.offers.get(RESOURCE, 0))

    @property
    def memory_gb(self) -> float:
        return self.offers.get(MEMORY, 0.0)


def versions() -> dict[str, str]:
    """Return the versions that have to be equal on all machines."""
    packages = {name: version(name) for name in ("ray", "mlx", "mlx-lm")}
    return {"python": platform.python_version(), **packages, "study": code_fingerprint()}


@contextmanager
def marked(root: Path) -> Iterator[str]:
    """Keep a file in the results folder while nodes are looked at; yield its name, by which others recognise the
    folder. Those that killed runs left are removed."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{MARK}*"):
        if quiet(left) > MARK_SECONDS:
            left.unlink(missing_ok=True)
    mark = root / f"{MARK}{socket.gethostname()}-{os.getpid()}"
    mark.touch()
    try:
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)


def survey(root: Path, mark: str) -> list[Node]:
    """Return every living node of the connected cluster with its facts; all are examined at the same time."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(look)
    asked: list[tuple[dict[str, Any], ray.ObjectRef[Facts]]] = []
    for node in (node for node in ray.nodes() if node["Alive"]):
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        named = ask.options(num_cpus=0, scheduling_strategy=here, name=f"look at {node['NodeManagerAddress']}")
        asked.append((node, named.remote(root, mark, node["NodeID"])))
    ray.wait([ref for _, ref in asked], num_returns=len(asked), timeout=PATIENCE_SECONDS)
    found = []
    for node, ref in asked:
        about = {"id": node["NodeID"], "address": node["NodeManagerAddress"], "offers": node["Resources"]}
        try:
            facts, reason = ray.get(ref, timeout=0.1), ""
        except (RayError, TimeoutError) as error:
            facts, reason = None, " ".join(str(error).split())[-300:]
        if facts and facts.shares and facts.can_write and not _appears(_written(root, mark, node["NodeID"])):
            facts, reason = None, "it writes to a results folder that is not this one"
        found.append(Node(**about, facts=facts, reason=reason))
    return found


def look(root: Path, mark: str, node: str) -> Facts:
    """Return the facts about the machine on which this runs."""
    import mlx.core as mx

    from study.models.activations import on_cpu
    from study.models.cache_root import cache_root

    shares = (root / mark).is_file()
    place = root if shares else cache_root()
    return Facts(
        host=socket.gethostname(),
        versions=versions(),
        device=str(mx.default_device()),
        on_gpu=not on_cpu(),
        memory_gb=psutil.virtual_memory().total / 1e9,
        free_memory_gb=psutil.virtual_memory().available / 1e9,
        free_disk_gb=shutil.disk_usage(_existing(place)).free / 1e9,
        shares=shares,
        can_write=_can_write(_written(place, mark, node), keep=shares),
        asks_for_token=environment.asks_for_token(),
    )


def problems(nodes: Sequence[Node]) -> list[str]:
    """Return the problems to fix before a study runs on these nodes, each with the node, what was found and the fix."""
    own = versions()
    found = []
    for node in nodes:
        if node.facts is None:
            found.append(f"{node.address} does not answer: {node.reason or 'no reason given'}; restart it, or stop it")
            continue
        for name, fix in MUST_MATCH.items():
            if node.facts.versions[name] != own[name]:
                found.append(f"{node.name} has {name} {node.facts.versions[name]}, this machine {own[name]}: {fix}")
        if not node.facts.can_write:
            found.append(f"{node.name} cannot write its results: make the folder writable there, or free some space")
        if not node.facts.asks_for_token:
            found.append(
                f"{node.name} accepts connections from everybody on its network, who could run code there: its Ray was "
                "started without a token; start it with `study cluster`"
            )
        if node.facts.free_disk_gb < LEAST_DISK_GB:
            free = f"{node.facts.free_disk_gb:.1f} GB of disk free"
            found.append(f"{node.name} has {free}, and {LEAST_DISK_GB:.0f} are needed: free some space")
    if not any(node.slots for node in nodes):
        found.append(
            f"no node offers the resource {RESOURCE!r}, so nothing would ever run: "
            "start nodes with `study cluster head` and `study cluster join`"
        )
    return found


def described(nodes: Sequence[Node]) -> list[str]:
    """Return a line for every node that answered."""
    lines = []
    for node in nodes:
        if node.facts:
            facts = node.facts
            where = "shares the results folder" if facts.shares else "sends its results back through Ray"
            memory = f"{facts.free_memory_gb:.0f} of {facts.memory_gb:.0f} GB memory free"
            lines.append(
                f"{node.name}: {node.slots} at a time on {facts.device}, {memory}, "
                f"{facts.free_disk_gb:.0f} GB disk free, {where}"
            )
    return lines


def _written(root: Path, mark: str, node: str) -> Path:
    return root / f"{mark}.{node}"


def _can_write(file: Path, keep: bool) -> bool:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("written")
        if not keep:
            file.unlink()
    except OSError:
        return False
    return True


def _appears(file: Path) -> bool:
    """Whether a file that another machine has written appears here in SHARED_SECONDS; if so, it is removed."""
    deadline = time.monotonic() + SHARED_SECONDS
    while not file.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    file.unlink()
    return True


def _existing(folder: Path) -> Path:
    return next(parent for parent in [folder, *folder.parents] if parent.is_dir())
