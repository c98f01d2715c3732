"""What Ray keeps on disk: in a folder of the user alone, without the environment, and not for ever."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors import cluster, environment
from actors.cluster import ClusterError, connect, sessions_folder
from actors.driver import carry_out
from study.config.catalogue import BuiltSource, Model
from study.config.study import RaySettings
from study.plan.expand import expand
from study.results.store import Store

pytestmark = pytest.mark.ray

CANARY = "canary-of-the-environment"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_ray_that_was_imported_before_it_was_told_of_the_token_is_one_message_at_once():
    # It would fail after a minute: findings/ray-token-mode-after-import.sh, Ray 2.60.0.
    code = "import ray; from actors.cluster import *\nwith connect(RaySettings()): pass"
    own = {name: value for name, value in os.environ.items() if name != environment.AUTH_MODE}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "actors.cluster.ClusterError: Ray was imported before this program could tell it to use a token: import it "
        "later, or set RAY_AUTH_MODE=token before"
    )


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "TEMPORARY", tmp_path)
    return tmp_path


def test_the_folder_is_made_for_its_owner_alone_and_used_again(temporary):
    assert sessions_folder() == temporary / f"study-{os.getuid()}" / "ray"
    assert mode(sessions_folder().parent) == 0o700


@pytest.mark.parametrize("how", ["open", "a link", "a file", "of another user"])
def test_a_folder_that_others_can_enter_is_one_message(how, temporary, monkeypatch):
    private = temporary / f"study-{os.getuid()}"
    if how == "a file":
        private.touch(mode=0o600)
    elif how == "a link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        private.symlink_to(temporary / "elsewhere")
    else:
        private.mkdir(mode=0o700)
        private.chmod(0o755 if how == "open" else 0o700)
    if how == "of another user":
        private.rename(temporary / "study-12345")
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(ClusterError, match=f"{temporary}/study-.*(nobody else can enter|cannot be made)"):
        sessions_folder()


def test_what_ended_clusters_left_is_removed_after_some_days(temporary):
    sessions = sessions_folder()
    old, idle, new = (sessions / f"session_{name}" for name in ("old", "idle", "new"))
    long_ago = time.time() - 86400 * (cluster.SESSION_DAYS + 1)
    for session in (old, idle, new):
        (session / "logs").mkdir(parents=True)
        (session / "logs" / "gcs_server.out").touch()
    (sessions / "session_latest").symlink_to(new)
    for path in (old / "logs" / "gcs_server.out", old / "logs", old, idle):
        os.utime(path, (long_ago, long_ago))
    sessions_folder()
    assert sorted(path.name for path in sessions.iterdir()) == ["session_idle", "session_latest", "session_new"]


def test_of_clusters_that_have_ended_the_last_ones_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TEMPORARY", tmp_path)
    sessions = cluster.sessions_folder()
    now = time.time()
    for number in range(cluster.KEPT_SESSIONS + 5):
        session = sessions / f"session_{number:02}"
        (session / "logs").mkdir(parents=True)
        (session / "logs" / "gcs.out").touch()
        # The first three still run, though all others are newer.
        ago = cluster.ENDED_SECONDS - 600 if number < 3 else cluster.ENDED_SECONDS + 60 * (40 - number)
        for place in (session / "logs" / "gcs.out", session / "logs", session):
            os.utime(place, (now - ago, now - ago))
    cluster.sessions_folder()
    kept = sorted(path.name for path in sessions.iterdir())
    running, ended = kept[:3], kept[3:]
    assert running == ["session_00", "session_01", "session_02"]
    assert ended == [f"session_{number:02}" for number in range(8, 15)]
    assert len(kept) == cluster.KEPT_SESSIONS


def own_sessions() -> set[Path]:
    """The sessions of this process: other studies on this machine may begin some at any time."""
    return set(sessions_folder().glob(f"session_*_{os.getpid()}"))


def test_a_private_cluster_keeps_the_environment_to_itself(no_cluster, tiny_study, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_CANARY", CANARY)
    store = Store(tmp_path / "results")
    settings = RaySettings(workers=1, dashboard_port=18275)
    units = expand(tiny_study(), {"tiny-llama": Model(source=BuiltSource(built="llama"), blocks=4)})
    before = own_sessions()
    with connect(settings) as connected:
        ended = list(carry_out(units, store, settings, connected.slots))
    assert [one.outcome.state for one in ended if one] == ["done"] * len(units)
    (session,) = own_sessions() - before
    written = [file for folder in (session, tmp_path) for file in folder.rglob("*") if file.is_file()]
    assert {"gcs_server.out", "raylet.out", "done.json"} <= {file.name for file in written}
    assert [file for file in written if CANARY.encode() in file.read_bytes()] == []
    assert mode(sessions_folder().parent) == 0o700
    assert mode(environment.token_file()) == 0o600
