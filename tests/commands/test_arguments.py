"""Odd values on the command lines of `study cluster` and `study doctor`: one message, exit code 2."""

import os
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package

from study.commands import arguments
from study.commands.cluster import main as cluster
from study.commands.doctor import main as doctor
from study.commands.report import main as report
from study.commands.run import main as run
from study.results.description import REPORT_TITLE

LONG, HUGE = "a" * 300, "9" * 5000
HOSTS = ["", "-x", "a b", "a\0b", "größe", "x;reboot", LONG, "http://x", "a/b", "\n", "\ud800"]
PORTS = ["", "0", "-1", "65536", HUGE, "1e3", "٣", "6379\n", "0x1"]
PATHS = ["", "a\0b", f"/{LONG}", "/a\nb", "/\ud800", "loop"]
URLS = [
    "",
    "127.0.0.1:8265",
    "ftp://x:1",
    "http://",
    "http://x:99999",
    "http://x y:1",
    "http://x:1/\n",
    "os://x:1",
    LONG,
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").touch()
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "values"),
    [
        (["cluster", "head", "--host"], HOSTS),
        (["cluster", "head", "--dashboard-host"], HOSTS),
        (["cluster", "head", "--port"], PORTS),
        (["cluster", "head", "--dashboard-port"], PORTS),
        (["cluster", "head", "--workers"], ["", "0", "-1", HUGE, "many", "1.5"]),
        (["cluster", "join"], [*(f"{host}:6379" for host in HOSTS), *(f"127.0.0.1:{port}" for port in PORTS), "auto"]),
        (["cluster", "submit", "study.yaml", "--dashboard"], URLS),
        (["cluster", "submit", "study.yaml", "--results"], PATHS),
        (["cluster", "submit", "study.yaml", "--results", "/r", "--report"], PATHS),
        (["cluster", "submit", "--results", "/r"], PATHS),
        (["doctor", "--address"], [*(f"{host}:6379" for host in HOSTS), *(f"127.0.0.1:{port}" for port in PORTS)]),
        (["doctor", "--results"], [*PATHS, "study.yaml", "study.yaml/x"]),
    ],
)
def test_a_value_that_cannot_be_is_one_message(
    command: list[str], values: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    program = {"cluster": cluster, "doctor": doctor}[command[0]]
    *before, last = command[1:]
    for value in values:
        given = [*before, f"{last}={value}"] if last.startswith("--") else [*before, last, "--", value]
        with pytest.raises(SystemExit) as ended:
            program(given)
        told = capsys.readouterr().err
        assert ended.value.code == 2, value
        assert told.count("error: ") == 1
        assert len(told.splitlines()[-1]) < 300
        assert "Traceback" not in told


def test_a_host_that_nobody_knows_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster(["head", "--host", "no-such-machine.invalid"]) == 2
    assert "--host no-such-machine.invalid: no machine is known by this name" in capsys.readouterr().err


def test_a_job_and_what_is_printed_of_it_are_quoted(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted: list[list[str]] = []

    def submit(command: list[str], dashboard: str) -> str:
        submitted.append(command)
        return "raysubmit_1; reboot"

    monkeypatch.setattr("study.commands.cluster.submit_study", submit)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    (here / "-x.yaml").touch()
    assert cluster(["submit", "--results", "/r; touch x y", "--", "-x.yaml"]) == 0
    (command,) = submitted
    assert command[-2:] == ["--", "-x.yaml"]
    assert command[3:-2] == ["--address", "auto", "--results", "/r; touch x y", "--report", "/r; touch x y/report.md"]
    told = capsys.readouterr().out
    assert "study status '/r; touch x y'\n" in told
    assert "ray job logs --address http://127.0.0.1:8265 -- 'raysubmit_1; reboot'\n" in told
    assert told.count("; reboot") == told.count("'raysubmit_1; reboot'") + 1


def test_secrets_results_and_caches_are_not_sent_with_a_job(here: Path) -> None:
    (here / ".rayignore").write_bytes((Path(__file__).parents[2] / ".rayignore").read_bytes())
    kept = ["configs/grid.yaml", "study/pipeline/export.py", "actors/environment.py", "study/lens/tokens.py"]
    left = [
        *(".env", ".env.local", "configs/.env", "prod.env", ".netrc", "configs/server.pem", "x.key", ".ssh/id_rsa"),
        *("id_ed25519", ".aws/credentials", "credentials.json", "secrets.yaml", ".git/config", "results/a/study.json"),
        *("reports/a.md", ".venv/lib/x.py", "study/__pycache__/x.pyc", ".mypy_cache/x", ".ray/auth_token"),
    ]
    for name in (*kept, *left):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
    os.unlink(here / "loop")
    create_package(str(here), here.parent / "package.zip", include_gitignore=False)
    sent = {name for name in zipfile.ZipFile(here.parent / "package.zip").namelist() if not name.endswith("/")}
    assert sent == {*kept, ".rayignore", "study.yaml"}


def test_a_run_joins_a_cluster_by_its_address_alone_and_its_report_has_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("auto", "foo", ""):
        with pytest.raises(SystemExit) as ended:
            run(["configs/smoke.yaml", "--dry-run", "--address", wrong])
        assert ended.value.code == 2
        assert "must be HOST:PORT" in capsys.readouterr().err
    (tmp_path / "report").touch()
    with pytest.raises(SystemExit) as ended:
        run(["configs/smoke.yaml", "--dry-run", "--report", str(tmp_path / "report.md")])
    assert ended.value.code == 2
    assert "report is a file: name a folder" in capsys.readouterr().err


def test_a_report_takes_the_place_of_a_report_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes, earlier = tmp_path / "notes.md", tmp_path / "earlier.md"
    notes.write_text("# Notes\n\nof a year\n")
    earlier.write_text(f"{REPORT_TITLE}\n\nStudy `x`\n")
    (tmp_path / "empty.md").touch()
    told = "notes.md is there, and is no report of a study: name another file"
    with pytest.raises(SystemExit) as ended:
        run(["configs/smoke.yaml", "--dry-run", "--report", str(notes)])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert report(["--results", str(tmp_path), "--out", str(notes)]) == 2
    assert told in capsys.readouterr().err
    assert notes.read_text().startswith("# Notes")
    for free in (earlier, tmp_path / "empty.md", tmp_path / "new.md"):
        assert arguments.report(str(free)) == free
