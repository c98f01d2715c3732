"""Inputs of every kind, changed at random, are refused with a message or work; `make soak` tries thousands."""

import pytest

from soak.inputs import BAD, KINDS, TRIES, refused_inputs

pytestmark = pytest.mark.slow

FEW = {"study": 30, "models.yaml": 30, "examples": 20, "command line": 20, "results": 20, "weights": 20}


def test_nothing_ends_in_a_traceback_hangs_or_is_taken_for_what_it_is_not() -> None:
    assert FEW.keys() == TRIES.keys() == KINDS.keys()
    found = refused_inputs(FEW, seed=7, at_a_time=1)
    assert found["worst"] == []
    assert [found[verdict] for verdict in BAD] == [0] * len(BAD)
    assert found["faults"] == sum(FEW.values())
    assert found["refused"] > 50
    assert found["taken"] > 10
