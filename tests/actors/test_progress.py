import io

import pytest
from rich.console import Console

from actors.progress import Tally, display
from actors.worker import Ended
from study.results.files import write_json
from study.results.finished import PROGRESS
from study.results.running import duration
from study.results.store import Ending, Store
from tests.actors.test_ray import ONE_MODEL
from tests.finished import complete

FIRST, REFERENCE, PREDICTORS, WITHOUT, CELL = ONE_MODEL


def ended(unit, state="done", reason="finished", seconds=10.0):
    return Ended(unit, Ending(state, reason, seconds), "here")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 05 min")]
)
def test_durations_are_told_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_time_left_is_not_guessed_before_a_unit_of_each_kind_has_finished():
    tally = Tally(ONE_MODEL, slots=2)
    for unit in (FIRST, REFERENCE, PREDICTORS):
        tally.ended.append(ended(unit))
        assert tally.seconds_left() is None
    tally.ended.append(ended(WITHOUT, seconds=30.0))
    assert tally.seconds_left() == 15.0
    tally.ended.append(ended(CELL))
    assert tally.seconds_left() == 0


def test_every_unit_of_a_run_is_in_one_state():
    tally = Tally(ONE_MODEL, slots=2)
    assert tally.states(running=2) == {"done": 0, "failed": 0, "skipped": 0, "running": 2, "waiting": 3}
    tally.ended += [ended(FIRST), ended(WITHOUT, "failed"), ended(CELL, "skipped")]
    assert tally.states(running=1) == {"done": 1, "failed": 1, "skipped": 1, "running": 1, "waiting": 1}


def test_without_a_terminal_each_unit_that_ends_is_one_line(tmp_path):
    out = io.StringIO()
    with display(ONE_MODEL, 2, Store(tmp_path), Console(file=out, soft_wrap=True)) as shown:
        shown.tell(None)
        shown.tell(ended(FIRST))
        shown.tell(ended(WITHOUT, "failed", "the loss is NaN"))
    first, second = out.getvalue().splitlines()
    assert first.startswith("a|stage1|s0  done in 10 s  [1/5 · 0 failed · ")
    assert second.startswith("a|multiply-add|w=0|s0  failed: the loss is NaN  [2/5 · 1 failed · ")
    assert second.endswith("time left: not known yet]")


def test_a_terminal_shows_a_bar_and_the_units_that_run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    store, out = Store(tmp_path), io.StringIO()
    with (
        display(ONE_MODEL, 2, store, Console(file=out, force_terminal=True)) as shown,
        store.attempt(CELL) as folder,
    ):
        note = {"label": CELL.label, "stage": "stage 2", "step": 120, "steps": 200, "loss": 0.53, "class_loss": 1.2}
        write_json(folder / PROGRESS, note)
        shown.tell(ended(FIRST))
        complete(folder, CELL)
    text = out.getvalue()
    assert "1 of 5 units · time left: not known yet" in text
    assert "1 done · 0 failed · 1 running · 3 waiting" in text
    assert "120/200" in text
    assert "loss 0.530, class loss 1.200" in text


def test_cells_that_train_side_by_side_are_one_line_of_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    store, out = Store(tmp_path), io.StringIO()
    about = {"stage": "stage 2", "step": 3, "steps": 9, "host": "here"}
    with display(ONE_MODEL, 2, store, Console(file=out, force_terminal=True)) as shown:
        for unit, pid in ((REFERENCE, 1), (WITHOUT, 2), (CELL, 2)):
            write_json(store.begin(unit) / PROGRESS, {**about, "label": unit.label, "pid": pid})
        shown.tell(None)
    text = out.getvalue()
    assert "0 done · 0 failed · 3 running · 2 waiting" in text
    lines = {line.split("  ")[0] for line in text.splitlines() if "3/9" in line}
    assert len(lines) == 2  # each twice in the text: it is drawn once more at the end
    assert lines - {f"{cell.label} and 1 more" for cell in (WITHOUT, CELL)} == {REFERENCE.label}
