"""What tasks report, and which of it becomes a metric."""

import math
import time

from actors.metrics import figures
from actors.reports import Report, Reports

REPORT = Report("here", "node", 7, True, [{"label": "a"}], 0.0, "")


def test_the_last_report_of_a_task_is_heard_with_its_age():
    board = Reports()
    board.report("one", REPORT)
    time.sleep(0.02)
    board.report("two", REPORT)
    heard = board.heard()
    assert heard["one"].seconds_ago > heard["two"].seconds_ago >= 0
    assert heard["one"].report == REPORT


def test_a_task_that_has_ended_is_heard_no_more():
    board = Reports()
    board.report("one", REPORT)
    board.forget("one")
    board.forget("one")
    assert board.heard() == {}


def test_once_closed_it_stays_closed():
    board = Reports()
    assert not board.is_closed()
    board.close()
    assert board.is_closed()


def test_a_figure_is_the_mean_over_the_cells_that_tell_it():
    notes = [
        {"model": "a", "stage": "stage 2", "loss": 1.0, "class_loss": math.log(2)},
        {"model": "a", "stage": "stage 2", "loss": 3.0},
    ]
    found = {name: value for name, (value, _) in figures(notes).items()}
    assert found["loss"] == 2.0
    assert math.isclose(found["class_probability"], 0.5)
    assert "tokens_per_second" not in found
    assert figures([]) == {}
