"""What is found of the machines of a cluster, and what is said of it."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.nodes import Facts, Node, described, look, marked, problems, versions

FACTS = Facts(
    "mac-1", versions(), "Device(gpu, 0)", True, 64.0, 50.0, 300.0, shares=True, can_write=True, asks_for_token=True
)
NODE = Node("a1", "10.0.0.1", {"mlx": 1.0, "unified_gb": 51.0}, FACTS)


def with_facts(**changes):
    return replace(NODE, facts=replace(FACTS, **changes))


def test_a_node_that_has_everything_has_no_problems_and_a_line():
    assert problems([NODE]) == []
    (line,) = described([NODE])
    assert line == (
        "mac-1 (10.0.0.1): 1 at a time on Device(gpu, 0), 50 of 64 GB memory free, 300 GB disk free, "
        "shares the results folder"
    )


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (with_facts(versions={**versions(), "mlx": "0.1.0"}), "mac-1 (10.0.0.1) has mlx 0.1.0, this machine "),
        (with_facts(versions={**versions(), "study": "00000000"}), "check out the same commit on every machine"),
        (with_facts(versions={**versions(), "python": "3.9.1"}), "has python 3.9.1"),
        (with_facts(can_write=False), "mac-1 (10.0.0.1) cannot write its results: make the folder writable there"),
        (with_facts(asks_for_token=False), "mac-1 (10.0.0.1) accepts connections from everybody on its network"),
        (with_facts(free_disk_gb=0.4), "mac-1 (10.0.0.1) has 0.4 GB of disk free, and 2 are needed"),
        (replace(NODE, facts=None, reason="it is asleep"), "10.0.0.1 does not answer: it is asleep"),
        (replace(NODE, offers={"CPU": 8.0}), "no node offers the resource 'mlx', so nothing would ever run"),
    ],
)
def test_a_problem_is_told_with_the_node_what_was_found_and_the_fix(node, told):
    (problem,) = problems([node])
    assert told in problem


def test_all_problems_of_all_nodes_are_told_at_once():
    asleep = replace(NODE, facts=None, reason="it is asleep")
    assert len(problems([with_facts(can_write=False, free_disk_gb=0.1), asleep])) == 3


def test_a_node_that_shares_no_folder_sends_its_results_back():
    assert described([with_facts(shares=False)])[0].endswith("sends its results back through Ray")


def test_a_machine_sees_by_the_mark_whether_it_shares_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    killed = tmp_path / "results" / ".shared-other-1"
    newer = tmp_path / "results" / ".shared-other-2"
    newer.parent.mkdir()
    for file, ago in ((killed, 7200), (newer, 60)):
        file.touch()
        os.utime(file, (time.time() - ago, time.time() - ago))
    with marked(tmp_path / "results") as mark:
        assert not killed.exists()
        assert newer.exists()
        here = look(tmp_path / "results", mark, "a1")
        elsewhere = look(tmp_path / "others", mark, "a1")
        assert (here.shares, elsewhere.shares) == (True, False)
        assert here.can_write
        assert elsewhere.can_write
        assert (tmp_path / "results" / f"{mark}.a1").is_file()
        assert not (tmp_path / "others").exists()
    assert here.versions == versions()
    assert not (tmp_path / "results" / mark).exists()
