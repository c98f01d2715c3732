"""A node that dies, in a cluster of several on this machine."""

import pytest

from actors.driver import Driver
from soak.ground import cluster as several_nodes
from soak.ground import content, exactly_once, quick, starts, units_of
from study.config.study import RaySettings
from study.results.store import Store

QUICK = RaySettings(in_flight=2, stack=2)

pytestmark = pytest.mark.ray


def test_units_of_a_node_that_dies_are_run_elsewhere_each_published_once(no_cluster, tmp_path):
    units, store = units_of(20), Store(tmp_path / "results")
    began: list[str] = []
    with several_nodes(nodes=2) as made:
        driver, ended = Driver(units, store, QUICK, 2, quick(0.8)), []
        for one in driver.carry_out(poll_seconds=0.1):
            ended += [one.outcome.state] if one else []
            at_work = [unit.id for unit in units if starts(store, unit) and not store.is_done(unit)]
            if not began and len(at_work) == 2:  # one a node
                began = at_work
                made.kill(made.living.pop())
                made.add()
    assert ended == ["done"] * len(units)
    assert exactly_once(store, units) == {"units": len(units), "published": len(units), "different": 0, "strays": 0}
    assert any(starts(store, unit) > 1 for unit in units if unit.id in began)
    assert (store.folder(units[0]) / "rows.bin").read_bytes() == content(units[0])
