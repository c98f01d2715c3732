"""Who can reach a study's Ray: this machine alone."""

import ipaddress
import os

import psutil
import pytest

pytestmark = pytest.mark.ray


def is_loopback(address):
    """Also where an IPv6 socket serves an IPv4 address."""
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def listening(processes):
    found = {}
    for process in processes:
        for socket in process.net_connections(kind="inet"):
            if socket.status == psutil.CONN_LISTEN:
                found[socket.laddr.port] = (socket.laddr.ip, process.name())
    return found


def test_every_port_of_a_private_cluster_is_on_loopback(cluster):
    import ray

    ray.get(ray.remote(lambda: os.getpid()).options(num_cpus=0).remote())  # so that a worker and its ports are there
    found = listening([psutil.Process(), *psutil.Process().children(recursive=True)])
    assert int(cluster.dashboard.rpartition(":")[2]) in found
    assert len(found) >= 5
    assert {port: where for port, where in found.items() if not is_loopback(where[0])} == {}
