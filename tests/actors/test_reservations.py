"""What tasks ask for of a node's memory."""

import json

import pytest

from actors.reservations import MEMORY_FILE, Reservations


def test_a_task_asks_for_what_is_estimated_until_more_was_measured(tmp_path):
    memory = Reservations({"a": 1.3, "b": 4.0}, 16.0, tmp_path)
    assert (memory.of("a"), memory.of("b")) == (2, 4)
    assert memory.measured("a", 1.9) == ""
    assert memory.of("a") == 2
    assert memory.measured("a", 2.4) == (
        "a: a task took 2.4 GB of memory, and 2 GB were reserved for it; the next ones reserve 3 GB"
    )
    assert memory.measured("a", 2.2) == ""
    assert (memory.of("a"), memory.of("b")) == (3, 4)


def test_no_task_asks_for_more_than_a_node_has(tmp_path):
    memory = Reservations({"a": 30.0}, 16.0, tmp_path)
    assert memory.of("a") == 16
    memory.measured("a", 20.0)
    assert memory.of("a") == 16


def test_a_model_of_unknown_size_asks_for_nothing_until_it_was_measured(tmp_path):
    memory = Reservations({"a": None}, 16.0, tmp_path)
    assert memory.of("a") == 0
    memory.measured("a", 1.2)
    assert memory.of("a") == 2


def test_what_was_measured_is_recorded_and_known_in_the_next_run(tmp_path):
    Reservations({"a": 1.3, "b": 4.0}, 16.0, tmp_path).measured("a", 2.41)
    recorded = json.loads((tmp_path / MEMORY_FILE).read_text())
    assert recorded == {
        "a": {"estimated_gb": 1.3, "measured_gb": 2.41, "reserved_gb": 3},
        "b": {"estimated_gb": 4.0, "measured_gb": 0.0, "reserved_gb": 4},
    }
    assert Reservations({"a": 1.3}, 16.0, tmp_path).of("a") == 3


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"a": 1}', '{"a": {"measured_gb": "x"}}'])
def test_a_torn_record_is_as_none(tmp_path, torn):
    (tmp_path / MEMORY_FILE).write_text(torn)
    assert Reservations({"a": 1.3}, 16.0, tmp_path).of("a") == 2
