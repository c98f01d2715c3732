"""`study dashboard`, on a real cluster."""

import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from actors.cluster import Cluster, free_port
from actors.environment import token_file
from study.commands.dashboard import main


@pytest.mark.ray
def test_the_dashboard_of_a_run_is_opened_with_the_token_that_it_asks_for(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main([cluster.dashboard, "--no-browser"]) == 0
    assert not opened
    assert f"{cluster.dashboard}\ntoken: {token_file().read_text().strip()}\n" in capsys.readouterr().out
    assert main([f"{cluster.dashboard}/"]) == 0
    assert opened == [cluster.dashboard]


@pytest.mark.ray
def test_a_cluster_of_another_token_is_told(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "token"
    other.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert main([cluster.dashboard, "--no-browser"]) == 2
    assert f"refuses the token in {other}" in capsys.readouterr().err


def test_where_no_dashboard_answers_it_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"http://127.0.0.1:{free_port(18400)}"
    assert main([address, "--no-browser"]) == 2
    assert capsys.readouterr().err.startswith(f"nothing answers at {address}: a run prints the address")


def test_a_server_that_is_no_dashboard_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert main([f"http://127.0.0.1:{server.server_port}", "--no-browser"]) == 2
    assert "is no dashboard of Ray: give the address that the run printed" in capsys.readouterr().err
