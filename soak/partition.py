"""A node that the network cuts off while it works, and gives back: two machines played by network namespaces.

Needs root and iproute2; `possible` says whether they are there.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soak.ground import STARTS, exactly_once, quick, units_of
from study.config.study import RaySettings
from study.results.store import Store

HOSTS = {"study-head": "10.77.0.1", "study-node": "10.77.0.2"}
PORT = 6399
WORK_SECONDS = 30.0
QUICKLY = {"RAY_grpc_client_keepalive_time_ms": "3000", "RAY_grpc_client_keepalive_timeout_ms": "3000"}
"""So that a lost node is noticed within the soak."""


def possible() -> str:
    """Why it cannot be tried here; empty if it can."""
    if os.geteuid() or not shutil.which("ip"):
        return "network partitions need root and the `ip` command"
    done = subprocess.run(["ip", "netns", "add", "study-probe"], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", "study-probe"], check=True)
    return ""


def partitions(times: int = 3) -> dict[str, Any]:
    """Each time with two cells that both machines work on, one of them out of sight from soon after it has begun."""
    found = {"faults": 0, "units": 0, "published": 0, "different": 0, "strays": 0, "begun_twice": 0}
    with _network(), tempfile.TemporaryDirectory() as folder, _ray():
        for number in range(times):
            root = Path(folder) / f"results{number}"
            driver = _in("study-head", [sys.executable, "-m", "soak.partition", str(root)])
            _wait(lambda root=root: len(list((root / STARTS).glob("*/*"))) >= 2, 120, driver)
            _link("down")
            time.sleep(WORK_SECONDS)
            _link("up")
            driver.wait(timeout=300)
            for name, count in json.loads((root / "found.json").read_text()).items():
                found[name] += count
            found["faults"] += 1
            time.sleep(15)  # until the node that was given up has come back, or ended
            _rejoin()
    return found


def drive_two_cells(root: Path) -> None:
    """Runs in the head's namespace, and writes what it found."""
    from actors.cluster import connect
    from actors.driver import Driver

    store, units = Store(root), _ready(root)
    with connect(RaySettings(), f"{HOSTS['study-head']}:{PORT}"):
        driver = Driver(units, store, RaySettings(in_flight=1, stack=1), 2, quick(WORK_SECONDS))
        for _ in driver.carry_out():
            pass
    time.sleep(WORK_SECONDS)  # a late attempt may still want to publish
    twice = sum(len(list((root / STARTS / unit.id).glob("*"))) > 1 for unit in units)
    (root / "found.json").write_text(json.dumps({**exactly_once(store, units), "begun_twice": twice}))


def _ready(root: Path) -> list[Any]:
    """Two stage 1s, which need nothing that went before."""
    return [unit for unit in units_of(20, seeds=2) if unit.label.split("|")[1] == "stage1"]


@contextmanager
def _network() -> Iterator[None]:
    """Two namespaces with a cable between them."""
    for host in HOSTS:
        subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "add", host], check=True)
    subprocess.run("ip link add study-a type veth peer name study-b".split(), check=True)
    try:
        for host, end in zip(HOSTS, ("study-a", "study-b"), strict=True):
            subprocess.run(["ip", "link", "set", end, "netns", host], check=True)
            for command in (f"addr add {HOSTS[host]}/24 dev {end}", f"link set {end} up", "link set lo up"):
                subprocess.run(["ip", "netns", "exec", host, "ip", *command.split()], check=True)
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False)


def _link(state: str) -> None:
    subprocess.run(["ip", "netns", "exec", "study-node", "ip", "link", "set", "study-b", state], check=True)


def _in(host: str, command: Sequence[str], told: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *command], env={**os.environ, **QUICKLY}, stdout=told, stderr=told
    )


_node: "subprocess.Popen[bytes] | None" = None


@contextmanager
def _ray() -> Iterator[None]:
    """The cluster, by the commands that a user has."""
    cluster = [sys.executable, "-m", "study", "cluster"]
    asked = ["head", "--host", HOSTS["study-head"], "--port", str(PORT), "--workers", "1"]
    head = _in("study-head", [*cluster, *asked], subprocess.DEVNULL)
    try:
        time.sleep(20)
        _rejoin()
        yield
    finally:
        for process in (_node, head):
            if process:
                process.terminate()
                process.wait(timeout=60)


def _rejoin() -> None:
    """The other machine, begun again where its Ray has ended."""
    global _node
    if _node and _node.poll() is None:
        return
    address = f"{HOSTS['study-head']}:{PORT}"
    command = [
        sys.executable,
        "-m",
        "study",
        "cluster",
        "join",
        address,
        "--host",
        HOSTS["study-node"],
        "--workers",
        "1",
    ]
    _node = _in("study-node", command, subprocess.DEVNULL)
    time.sleep(15)


def _wait(condition: Any, seconds: float, driver: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if driver.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the cells did not begin")
        time.sleep(0.2)


if __name__ == "__main__":
    drive_two_cells(Path(sys.argv[1]))
