"""Where a study stands, as files tell it."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.data.packing import pack
from study.commands.status import main, read_standing
from study.config.units import Unit, kind
from study.plan.expand import expand
from study.results.description import write_description
from study.results.files import write_json
from study.results.finished import DONE, PROGRESS
from study.results.running import SILENT_SECONDS, WRITES_EVERY
from study.results.store import Status, Store
from tests.actors.test_ray import LAYERS, MODELS, STUDY
from tests.finished import complete

GRID = STUDY.model_copy(update={"models": ["a"], "grid": LAYERS})
UNITS = expand(GRID, MODELS)
FIRST, REFERENCE, PREDICTORS, *CELLS = UNITS
WITHOUT_MLX_AND_RAY = """
import sys
for name in ("mlx", "mlx.core", "mlx_lm", "ray", "pandas"):
    sys.modules[name] = None
from study.commands.status import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A study of eight units, none of which was run."""
    store = Store(tmp_path / "results")
    models = {"a": MODELS["a"].model_dump(mode="json")}
    write_description(store.root, GRID.name, GRID.model_dump(mode="json"), models, UNITS)
    return store


def finish(store: Store, *units: Unit, seconds: float = 60.0) -> None:
    for unit in units:
        with store.attempt(unit) as folder:
            complete(folder, unit, {"seconds": {"train": seconds}})


def begin(store: Store, unit: Unit, pid: int = 7, silent_for: float = 0.0, host: str = "mac") -> Path:
    folder = store.begin(unit)
    about = {"label": unit.label, "kind": kind(unit), "id": unit.id, "host": host, "pid": pid}
    started = "2026-01-01T00:00:00+00:00"
    where = {"started": started, "stage": "stage 2", "step": 63, "steps": 100, "loss": 0.149, "class_loss": 0.019}
    write_json(folder / PROGRESS, {**about, **where})
    os.utime(folder / PROGRESS, times=(time.time() - silent_for,) * 2)
    return folder


def shown(capsys: pytest.CaptureFixture[str], store: Store, *more: str) -> tuple[int, str]:
    code = main([str(store.root), *more])
    return code, capsys.readouterr().out


def section(text: str, title: str) -> list[str]:
    """The lines under a title, up to an empty one."""
    lines = [line.rstrip() for line in text.splitlines()]
    start = lines.index(title) + 1
    return lines[start : [*lines, ""].index("", start)]


def test_units_are_counted_by_state_and_kind(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    finish(store, FIRST, REFERENCE, CELLS[0])
    begin(store, CELLS[1])
    store.record(CELLS[2], "failed", "the loss is NaN")
    store.record(CELLS[3], "skipped", "token: 'multiply' is two tokens")
    code, text = shown(capsys, store)
    assert code == 3
    assert "5 of 8 units" in text
    assert "3 done · 1 running · 1 failed · 1 skipped · 2 to run" in text
    table = [line.split() for line in section(text, "")]
    assert table[0] == ["done", "running", "failed", "skipped", "to", "run", "each", "took"]
    assert table[1:] == [
        ["stage1", "1", "60", "s"],
        ["reference", "1", "60", "s"],
        ["predictors", "1"],
        ["cell", "1", "1", "1", "1", "1", "60", "s"],
    ]
    assert section(text, "Failed") == [f"  {CELLS[2].label}", "    the loss is NaN"]
    assert section(text, "Skipped") == [f"  {CELLS[3].label}", "    token: 'multiply' is two tokens"]


def test_what_runs_is_told_by_process_with_place_step_losses_and_since_when(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(store, FIRST)
    begin(store, CELLS[0], pid=7, silent_for=3.0)
    begin(store, CELLS[1], pid=7)
    begin(store, CELLS[2], pid=8, silent_for=10.0)
    _, text = shown(capsys, store)
    lines = section(text, "Running")
    assert lines[0] == f"  {CELLS[1].label} and 1 more  on mac, process 7"
    assert re.match(
        r"    stage 2 63/100 · loss 0\.149, class loss 0\.019 · since \d\d:\d\d \(\d+ h \d\d min\)$", lines[1]
    )
    assert lines[2] == f"  {CELLS[2].label}  on mac, process 8"
    assert "1 done · 3 running · 4 to run" in text


def test_an_attempt_that_was_killed_is_not_stuck_as_running(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    finish(store, FIRST)
    begin(store, CELLS[0], silent_for=SILENT_SECONDS + 3600)
    code, text = shown(capsys, store)
    assert code == 3
    assert "1 done · 1 silent · 6 to run · nothing runs" in text
    assert "Running" not in text
    assert section(text, "Silent")[1].endswith("silent for 62 min")


def test_a_process_of_this_machine_that_is_there_no_more_is_not_shown(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    here, quiet = socket.gethostname(), WRITES_EVERY + 5
    begin(store, CELLS[0], ended.pid, quiet, here)
    begin(store, CELLS[1], os.getpid(), quiet, here)
    begin(store, CELLS[2], ended.pid, quiet, "other")
    _, text = shown(capsys, store)
    assert "2 running · 6 to run" in text
    assert CELLS[0].label not in "\n".join(section(text, "Running"))
    begin(store, CELLS[0], ended.pid, 1.0, here)  # it writes: it counts processes by itself
    assert "3 running" in shown(capsys, store)[1]


def test_an_attempt_that_is_dated_in_the_future_does_not_run_and_is_swept(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    soon, later = begin(store, CELLS[0], silent_for=-60), begin(store, CELLS[1], pid=8, silent_for=-7200)
    _, text = shown(capsys, store)
    assert "1 running · 1 silent · 6 to run" in text
    assert section(text, "Silent")[1].endswith("dated 2 h 00 min in the future")
    store.sweep(3600)
    assert (soon.exists(), later.exists()) == (True, False)


@pytest.mark.parametrize(
    "content",
    [
        '{"id": "ID", "loss": "x"}',
        '{"id": "ID", "pid": {}, "host": []}',
        '{"id": "ID", "started": "yesterday"}',
        '{"id": "ID", "step": null, "steps": "many"}',
        '{"a":' * 100_000,
        "[]",
    ],
)
def test_progress_of_another_form_stops_no_command(
    store: Store, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (begin(store, CELLS[0]) / PROGRESS).write_text(content.replace("ID", CELLS[0].id))
    code, text = shown(capsys, store)
    assert code == 3
    assert "8 units" in text


def test_an_attempt_beside_a_published_result_is_not_shown(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    begin(store, FIRST)
    finish(store, FIRST)
    _, text = shown(capsys, store)
    assert "1 done · 7 to run · nothing runs" in text


def test_time_left_is_from_the_mean_of_each_kind_and_the_processes_that_run(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(store, FIRST, REFERENCE, seconds=60.0)
    finish(store, CELLS[0], seconds=100.0)
    finish(store, CELLS[1], seconds=140.0)
    begin(store, PREDICTORS, pid=1)
    assert "time left: not known yet" in shown(capsys, store)[1]
    finish(store, PREDICTORS, seconds=600.0)
    begin(store, CELLS[2], pid=1)
    begin(store, CELLS[3], pid=2)
    assert "5 done · 2 running · 1 to run · 3 min left" in shown(capsys, store)[1]  # three of 120 s by two processes


@pytest.mark.parametrize(
    ("done", "failed", "skipped", "code"),
    [(8, 0, 0, 0), (7, 0, 1, 0), (7, 1, 0, 1), (6, 1, 1, 1), (7, 0, 0, 3), (6, 1, 0, 3), (0, 0, 0, 3)],
)
def test_the_exit_code_says_whether_all_is_done(
    store: Store, done: int, failed: int, skipped: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(store, *UNITS[:done])
    for unit in UNITS[done : done + failed]:
        store.record(unit, "failed", "the loss is NaN")
    for unit in UNITS[done + failed : done + failed + skipped]:
        store.record(unit, "skipped", "two tokens")
    assert main([str(store.root)]) == code


def test_units_whose_stage_1_failed_are_not_waited_for(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.record(FIRST, "failed", "the loss is NaN")
    code, text = shown(capsys, store)
    assert code == 1
    assert section(text, "Failed") == [
        f"  {FIRST.label}",
        "    the loss is NaN",
        *(f"  {unit.label}" for unit in UNITS[1:]),
        "    its stage 1 failed: the loss is NaN",
    ]


def test_what_is_damaged_is_named_and_counts_as_not_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    finish(store, *UNITS)
    (store.folder(CELLS[0]) / DONE).write_text("{")
    (store.folder(CELLS[1]) / DONE).unlink()
    (store.begin(CELLS[0]) / PROGRESS).write_text("{")
    code, text = shown(capsys, store)
    assert code == 3
    assert "6 done · 2 to run" in text
    lines = section(text, "To run again")
    assert [line.strip() for line in lines[::2]] == [CELLS[0].label, CELLS[1].label]
    assert lines[1].startswith("    damaged: done.json cannot be used")
    assert lines[3] == "    damaged: it has no done.json"


def test_a_folder_that_is_no_study_is_one_message(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(store.root, tmp_path / "packed")
    for folder, told in (
        (tmp_path, f"{tmp_path} holds no study.json: give the folder of one study, such as results/grid"),
        (tmp_path / "nowhere", "holds no study.json"),
        (store.root / "study.json", "is not a folder: give the results folder of one study"),
        (tmp_path / "packed", "is a packed study: give the results folder that it was made from"),
    ):
        assert main([str(folder)]) == 2
        printed = capsys.readouterr().err
        assert told in printed
        assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["here", "--watch", "soon"], ["here", "--watch", "0"], ["--watch", "here"]])
def test_bad_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_it_needs_neither_mlx_nor_ray_and_changes_nothing(store: Store) -> None:
    finish(store, *UNITS)
    before = {file: file.stat().st_mtime_ns for file in store.root.rglob("*")}
    command = [sys.executable, "-c", WITHOUT_MLX_AND_RAY, str(store.root)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "8 of 8 units" in run.stdout
    assert {file: file.stat().st_mtime_ns for file in store.root.rglob("*")} == before


def test_without_a_terminal_watching_is_a_line_a_look_until_all_has_ended(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, *UNITS[:-1])
    monkeypatch.setattr("study.commands.status.time.sleep", lambda seconds: finish(store, UNITS[-1]))
    code, text = shown(capsys, store, "--watch", "0.05")
    assert code == 0
    first, *_, last = text.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  7 done · 1 to run · nothing runs", first)
    assert last.endswith("  8 done")


def on_a_terminal(store: Store, *more: str) -> tuple[str, int]:
    """What the command shows on a terminal of 80 columns, and its exit code; with more arguments it ends by Ctrl-C."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "40", "TERM": "xterm"}
    command = [sys.executable, "-m", "study", "status", str(store.root), *more]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text = ""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                text += os.read(ours, 65536).decode()
            except OSError:  # closed on the other side
                break
        if "nothing runs" in text and process.poll() is None and more:
            process.send_signal(signal.SIGINT)
            more = ()
    os.close(ours)
    return text, process.wait(timeout=300)


def test_on_a_terminal_of_80_columns_no_line_is_longer(store: Store) -> None:
    finish(store, *UNITS[:4])
    begin(store, CELLS[1], silent_for=1000)
    store.record(CELLS[2], "failed", "a reason that is a good deal longer than a line of such a terminal " * 3)
    text, code = on_a_terminal(store)
    assert code == 3
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(CELLS[1].label in line for line in lines)
    assert all(re.match(r"    \S", line) for line in lines[-3:])
    assert "…" not in text


def test_watching_on_a_terminal_ends_with_ctrl_c_and_without_a_traceback(store: Store) -> None:
    finish(store, *UNITS[:4])
    text, code = on_a_terminal(store, "--watch", "0.1")
    assert code == 130
    assert "Traceback" not in text
    assert "4 done · 4 to run · nothing runs" in text


def test_units_known_to_be_done_are_not_looked_at_again(store: Store) -> None:
    finish(store, *UNITS[:4])
    done: dict[str, Status] = {}
    read_standing(store, done)
    assert done.keys() == {unit.id for unit in UNITS[:4]}
    finish(store, UNITS[4])
    assert read_standing(store, done).summary == "5 done · 3 to run · nothing runs"
