"""`study cluster`, up to where Ray would start."""

import io
import os
import socket
import stat

import pytest

from actors import environment
from study.commands.cluster import main


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without a token, and Ray's variables as they were afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (*environment.DEFAULTS, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    return tmp_path


def permissions():
    return stat.S_IMODE(environment.token_file().stat().st_mode)


def test_a_token_is_made_once_and_is_for_its_owner_alone(home):
    environment.ensure_token()
    first = environment.token_file().read_text()
    assert len(first) == 64
    assert permissions() == 0o600
    environment.ensure_token()
    assert environment.token_file().read_text() == first


def test_a_token_that_others_can_read_is_protected(home):
    environment.write_token("a" * 64)
    environment.token_file().chmod(0o644)
    environment.prepare(serving=True)
    assert permissions() == 0o600


def test_no_machine_joins_without_the_token(home, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("no token\n"))
    assert main(["join", "127.0.0.1:1"]) == 2
    assert "a token is needed to join: the head machine shows it with" in capsys.readouterr().err
    assert not environment.has_token()


def test_the_token_that_is_given_is_kept_for_its_owner_alone(home, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("b" * 64 + "\n"))
    assert main(["join", "127.0.0.1:1"]) == 2
    assert "no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
    assert environment.token_file().read_text() == "b" * 64
    assert permissions() == 0o600


def test_the_token_is_never_switched_off(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    environment.prepare(serving=True)
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("arguments", [[], ["join"], ["leave"], ["head", "--workers", "many"]])
def test_bad_usage_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_port_that_is_taken_is_one_message(home, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["head", "--host", "127.0.0.1", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is taken, maybe by a running cluster: give --port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["configs/smoke.yaml", "--results", "here"], "--results here: must be an absolute path on the cluster's"),
        (["configs/smoke.yaml", "--results", "/r", "--report", "r.md"], "--report r.md: must be an absolute path"),
        (["configs/none.yaml", "--results", "/r"], "configs/none.yaml: must be a file in this folder"),
        (["../outside.yaml", "--results", "/r"], "../outside.yaml: must be a file in this folder"),
    ],
)
def test_what_cannot_be_handed_in_is_one_message(home, monkeypatch, capsys, arguments, told):
    (home / "here" / "configs").mkdir(parents=True)
    (home / "here" / "configs" / "smoke.yaml").touch()
    (home / "outside.yaml").touch()
    monkeypatch.chdir(home / "here")
    assert main(["submit", *arguments]) == 2
    assert told in capsys.readouterr().err
