"""Pods with an address of their own, by a daemon in a network namespace of the test's."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import grpc
import pytest
from tests.cri_client import CriClient
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require_root

from sampan.base.errors import InvalidError
from sampan.engine.cri.core.sandbox import pod_subnets

SERVE = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -h /www -p 8080"


@dataclass(slots=True)
class Node:
    """A daemon with CRI and the network that it lives in."""

    cri: CriClient
    netns: NetworkNamespace

    def ips(self, pod: str) -> list[str]:
        """The addresses of a pod."""
        network = self.cri.call("PodSandboxStatus", pod_sandbox_id=pod).status.network
        return [one for one in (network.ip, *(ip.ip for ip in network.additional_ips)) if one]

    def wait_for_no_veth(self) -> None:
        """Wait until the kernel has taken the devices down: it does so in its own time."""
        while self.netns.links("veth"):
            pass

    def serve(self, pod: str) -> str:
        """Serve the pod's name at its port 8080; return the container."""
        container = self.cri.start(pod, "sh", "-c", SERVE, name="server")
        look = "until grep -q ':1F90 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done"
        self.cri.call("ExecSync", container_id=container, cmd=["sh", "-c", look], timeout=20)
        return container


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require_root()
    place = tmp_path_factory.mktemp("node")
    netns = NetworkNamespace.make()
    flags = [f"--cri-socket={place / 'cri.sock'}"]
    engine = EngineServer(place, flags=flags, netns=netns.path).start()
    client = CriClient(engine, place)
    try:
        engine.load()
        yield Node(client, netns)
        client.clear()
    finally:
        client.close()
        engine.stop()
        netns.close()
        client.remove_cgroups()


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    yield shared_node
    shared_node.cri.clear()


def test_subnets_of_pods() -> None:
    assert pod_subnets("10.4.0.0/24, fd00:4::/64") == ["10.4.0.0/24", "fd00:4::/64"]
    assert pod_subnets("") == []
    for wrong in ("10.4.0.1/24", "10.4.0.0/24,10.5.0.0/24", "words"):
        with pytest.raises(InvalidError, match="pod_cidr"):
            pod_subnets(wrong)


@pytest.mark.root
@pytest.mark.real
def test_pods_reach_each_other(node: Node) -> None:
    cri = node.cri
    one, two = cri.run_pod(), cri.run_pod()
    ready = {c.type: c.status for c in cri.call("Status").status.conditions}
    assert ready == {"RuntimeReady": True, "NetworkReady": True}
    node.serve(one)
    (address,) = node.ips(one)
    assert node.ips(two) != [address]
    name = cri.call("PodSandboxStatus", pod_sandbox_id=one).status.metadata.name
    assert cri.run(two, "wget", "-qO-", f"http://{address}:8080/") == f"{name}\n"
    assert node.netns.get(f"http://{address}:8080/") == f"{name}\n"
    assert f"{address}\t{name}" in cri.run(one, "cat", "/etc/hosts")
    assert address in cri.out("inspectp", one)
    stats = cri.call("PodSandboxStats", pod_sandbox_id=one).stats.linux.network
    assert stats.default_interface.name == "eth0"
    assert stats.default_interface.rx_bytes.value > 0
    cri.call("StopPodSandbox", pod_sandbox_id=one)
    assert node.ips(one) == []
    cri.call("StopPodSandbox", pod_sandbox_id=two)
    node.wait_for_no_veth()


@pytest.mark.root
@pytest.mark.real
def test_ports_of_the_node(node: Node) -> None:
    cri = node.cri
    ports = [{"protocol": "TCP", "container_port": 8080, "host_port": 18080}]
    config = cri.pod_config(port_mappings=[*ports, {"container_port": 9999}])
    pod = cri.run_pod(config)
    node.serve(pod)
    name = config["metadata"]["name"]
    assert node.netns.get("http://127.0.0.1:18080/") == f"{name}\n"
    taken = cri.pod_config(port_mappings=ports)
    code, message = cri.fails("RunPodSandbox", {"config": taken})
    assert code == "UNKNOWN"
    assert "port is already allocated" in message
    assert [one.id for one in cri.call("ListPodSandbox").items] == [pod]
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    cri.run_pod(taken)
    sctp = cri.pod_config(port_mappings=[{**ports[0], "protocol": "SCTP"}])
    assert cri.fails("RunPodSandbox", {"config": sctp})[0] == "UNIMPLEMENTED"


@pytest.mark.root
@pytest.mark.real
def test_a_pods_network_outlives_a_killed_daemon(node: Node) -> None:
    cri = node.cri
    ports = [{"protocol": "TCP", "container_port": 8080, "host_port": 18081}]
    config = cri.pod_config(port_mappings=ports)
    pod = cri.run_pod(config)
    node.serve(pod)
    before = node.ips(pod)
    cri.engine.kill()
    cri.close()
    cri.engine.start()
    assert node.ips(pod) == before
    name = config["metadata"]["name"]
    assert node.netns.get(f"http://{before[0]}:8080/") == f"{name}\n"
    assert node.netns.get("http://127.0.0.1:18081/") == f"{name}\n"
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    node.wait_for_no_veth()


@pytest.mark.root
@pytest.mark.real
def test_pods_are_where_the_kubelet_says(node: Node) -> None:
    cri = node.cri
    subnets = "10.244.7.0/24,fd00:7::/64"
    wrong = {"runtime_config": {"network_config": {"pod_cidr": "everywhere"}}}
    assert cri.fails("UpdateRuntimeConfig", wrong)[0] == "INVALID_ARGUMENT"
    told = {"runtime_config": {"network_config": {"pod_cidr": subnets}}}
    for _ in range(2):
        cri.call("UpdateRuntimeConfig", told)
    first = node.ips(cri.run_pod())
    cri.engine.kill()
    cri.close()
    cri.engine.start()
    second = node.ips(cri.run_pod())
    for addresses in (first, second):
        for address, subnet in zip(addresses, subnets.split(","), strict=True):
            assert ip_address(address) in ip_network(subnet)


@pytest.mark.root
@pytest.mark.real
def test_kills_at_random_moments_leave_nothing_of_pods(node: Node) -> None:
    cri, chance = node.cri, random.Random(11)
    made: list[str] = []

    def lead_a_life() -> None:
        """Run a pod as a kubelet does; stop wherever the daemon's death leaves it."""
        with contextlib.suppress(grpc.RpcError):
            pod = cri.run_pod()
            made.append(pod)
            container = cri.start(pod, "sleep", "1000")
            made.append(container)
            cri.call("StopContainer", container_id=container)
            cri.call("StopPodSandbox", pod_sandbox_id=pod)
            cri.call("RemovePodSandbox", pod_sandbox_id=pod)

    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            lives = [pool.submit(lead_a_life) for _ in range(8)]
            lives[chance.randrange(4)].result()
            cri.engine.kill()
            cri.close()
        cri.engine.start()
    assert len(made) > 5
    cri.clear()
    assert not cri.call("ListContainers").containers
    data = cri.engine.place / "data"
    assert list((data / "containers").iterdir()) == []
    assert list((data / "images" / "writable").iterdir()) == []
    assert list((cri.engine.place / "exec" / "containers").iterdir()) == []
    assert str(cri.engine.place) not in Path("/proc/self/mountinfo").read_text()
    assert [one for one, _, _ in os.walk("/sys/fs/cgroup") if one.rpartition("/")[2] in made] == []
    node.wait_for_no_veth()
