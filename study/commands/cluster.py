"""`study cluster head` starts a Ray cluster on this machine, `study cluster join` adds this machine to one.

Both run until they are interrupted, with everything that Ray needs for a study: its token, one MLX process on a Mac,
the memory that models may take, BLAS threads. A study uses the cluster through `python -m study.grid … --address`, or
runs as a Ray job of the cluster through `study cluster submit`.
"""

import argparse
import getpass
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from actors import environment
from actors.cluster import (
    OBJECT_STORE_BYTES,
    PORT,
    ClusterError,
    check_reachable,
    free_port,
    own_address,
    resources,
    sessions_folder,
    share,
)
from actors.jobs import submit_study
from study.commands import arguments as given
from study.config.study import RaySettings

STARTED = "Ray runtime started."
"""Text that `ray start` prints once the node is up."""
AGENT_PORT = 52365
"""Port at which a node's agent takes jobs, if it is free; Ray's own choice."""
TOKEN = re.compile(r"[0-9a-zA-Z_-]{16,}")
"""Form of a token."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and for a node stay until it ends; returns the exit code."""
    asked = _parse(arguments)
    try:
        if asked.command == "submit":
            return _submit(asked)
        command, told = _head(asked) if asked.command == "head" else _join(asked)
        return _stay(command, told)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _stay(command: Sequence[str], told: str) -> int:
    """Run Ray until it ends or is interrupted; print `told` once it has started. Raises ClusterError if Ray fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as node:
        said: list[str] = []
        try:
            for line in node.stdout or ():
                if STARTED in line:
                    print(told, flush=True)
                said = [*said[-9:], line]
            if node.wait() == 0:
                return 0
            raise ClusterError(f"Ray ended with code {node.returncode}; its last output:\n{''.join(said)}")
        finally:
            node.terminate()  # whereupon it ends the other processes of its node


def _head(asked: argparse.Namespace) -> tuple[list[str], str]:
    environment.ensure_token()
    host = asked.host or own_address()
    if _listens(host, asked.port):
        raise ClusterError(f"port {asked.port} of {host} is taken, maybe by a running cluster: give --port")
    port = free_port(asked.dashboard_port)  # a private run of this machine may have the one that is asked for
    address, results = f"{host}:{asked.port}", shlex.quote(str(Path.cwd() / "results" / "grid"))
    shown = f"http://{'127.0.0.1' if asked.dashboard_host == '0.0.0.0' else asked.dashboard_host}:{port}"
    token = shlex.join(["cat", str(environment.token_file())])
    told = (
        f"The cluster runs until Ctrl-C. Dashboard: {shown}\n"
        f"  add a machine:  study cluster join {address}\n"
        f"                  (asks for the token, which `{token}` shows here)\n"
        f"  run a study:    python -m study.grid configs/grid.yaml --address {address}\n"
        f"  or submit it:   study cluster submit configs/grid.yaml --results {results} --dashboard {shown}\n"
        f"  check it:       study doctor --address {address}"
    )
    dashboard = ["--dashboard-host", asked.dashboard_host, "--dashboard-port", str(port)]
    return [*_start(asked, host), "--head", "--port", str(asked.port), *dashboard], told


def _listens(host: str, port: int) -> bool:
    """Whether something listens at the port. Raises ClusterError where no machine is known by that name."""
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=5):
            return True
    except socket.gaierror as error:
        raise ClusterError(f"--host {host}: no machine is known by this name or address ({error.strerror})") from None
    except OSError:
        return False


def _join(asked: argparse.Namespace) -> tuple[list[str], str]:
    if not environment.has_token():
        _ask_for_token()
    check_reachable(asked.address)
    command = [*_start(asked, asked.host or own_address(asked.address)), "--address", asked.address]
    return command, f"This machine is part of the cluster at {asked.address} until Ctrl-C."


def _start(asked: argparse.Namespace, host: str) -> list[str]:
    """Return the command `ray start` with the options of every node; also prepare the environment that it inherits."""
    environment.prepare(serving=True)
    divided = share(RaySettings(workers=asked.workers or "auto"))
    os.environ.update(environment.blas_threads(divided.threads))
    # So that `python` in a submitted job is this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    # Another Ray on this machine may hold the usual port; an agent without a port takes no jobs, without a word.
    command += ["--dashboard-agent-listen-port", str(free_port(AGENT_PORT))]
    command += ["--temp-dir", str(sessions_folder())]
    offered = ["--num-cpus", str(divided.workers), "--resources", json.dumps(resources(divided.workers))]
    return [*command, *offered, "--node-ip-address", host, "--object-store-memory", str(OBJECT_STORE_BYTES)]


def _submit(asked: argparse.Namespace) -> int:
    """Submit a study to the cluster as a Ray job, with the code of this folder. Raises ClusterError."""
    report = asked.report or asked.results / "report.md"
    for option, path in (("--results", asked.results), ("--report", report)):
        if not path.is_absolute():
            raise ClusterError(f"{option} {path}: must be an absolute path on the cluster's head machine")
    config = asked.config.resolve()
    if not config.is_file() or not config.is_relative_to(Path.cwd()):
        raise ClusterError(f"{asked.config}: must be a file in this folder, which is copied to the job")
    if not environment.has_token():
        _ask_for_token()
    environment.prepare(serving=True)
    study = ["python", "-m", "study.grid", "--address", "auto", "--results", str(asked.results)]
    study += [f"--{name}={one}" for name, values in (("only", asked.only), ("set", asked.set)) for one in values]
    study += ["--report", str(report), "--", str(config.relative_to(Path.cwd()))]
    job = submit_study(study, asked.dashboard)
    status = shlex.join(["study", "status", str(asked.results)])
    ray = {what: shlex.join(["ray", "job", what, "--address", asked.dashboard, "--", job]) for what in ("logs", "stop")}
    print(
        f"{job} runs on the cluster and no longer needs this machine. On the head machine:\n"
        f"  its progress:   {status}\n"
        f"  its output:     {environment.AUTH_MODE}=token {ray['logs']}\n"
        f"  stop it:        {environment.AUTH_MODE}=token {ray['stop']}"
    )
    return 0


def _ask_for_token() -> None:
    """Read the token from the terminal, or a line of standard input, and keep it. Raises ClusterError if it is none."""
    where = "the head machine shows it with `cat ~/.ray/auth_token`"
    given = getpass.getpass(f"the cluster's token ({where}): ") if sys.stdin.isatty() else sys.stdin.readline()
    if not TOKEN.fullmatch(given.strip()):
        raise ClusterError(
            f"a token is needed to join: {where}; paste it when asked, or copy that file to "
            f"{environment.token_file()} on this machine"
        )
    environment.write_token(given.strip())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="study cluster", description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    node = argparse.ArgumentParser(add_help=False)
    node.add_argument(
        "--host", type=given.host, help="address by which other machines reach this one (default: detected)"
    )
    node.add_argument(
        "--workers", type=_workers, metavar="N", help="units at a time (default: 1 on a Mac, 1 per core on a CPU)"
    )
    head = commands.add_parser("head", parents=[node], help="start a cluster on this machine")
    head.add_argument("--port", type=given.port, default=PORT, help=f"port of the cluster (default: {PORT})")
    head.add_argument(
        "--dashboard-host",
        type=given.host,
        default="127.0.0.1",
        metavar="HOST",
        help="interface of the dashboard (default: 127.0.0.1, this machine alone; 0.0.0.0 shows it to the network)",
    )
    dashboard_port = RaySettings().dashboard_port
    head.add_argument(
        "--dashboard-port",
        type=given.port,
        default=dashboard_port,
        metavar="PORT",
        help=f"port of the dashboard, or the next one that is free (default: {dashboard_port})",
    )
    join = commands.add_parser("join", parents=[node], help="add this machine to a cluster")
    join.add_argument(
        "address", type=given.address, metavar="HOST:PORT", help="address that `study cluster head` printed"
    )
    submit = commands.add_parser("submit", help="run a study as a job of a cluster, without this machine")
    submit.add_argument("config", type=given.path, metavar="FILE", help="the study, such as configs/grid.yaml")
    submit.add_argument(
        "--results", type=given.path, required=True, metavar="DIR", help="absolute path on the head machine"
    )
    for name, told in (("--only", "as for study run"), ("--set", "as for study run")):
        submit.add_argument(name, action="append", default=[], metavar="KEY=VALUE", help=told)
    submit.add_argument(
        "--report", type=given.path, metavar="FILE", help="report (default: report.md in the results folder)"
    )
    submit.add_argument(
        "--dashboard",
        type=given.url,
        default=f"http://127.0.0.1:{RaySettings().dashboard_port}",
        metavar="URL",
        help="dashboard of the head machine (default: http://127.0.0.1:8265)",
    )
    return parser.parse_args(arguments)


def _workers(text: str) -> int:
    """Return the number, which settings of a study allow. Raises ArgumentTypeError otherwise."""
    try:
        RaySettings(workers=int(text), stack=int(text))  # 0 workers are none of a cluster
    except ValueError:
        raise argparse.ArgumentTypeError(f"{ascii(text)[:100]} is no number of units: give 1 or more") from None
    return int(text)
