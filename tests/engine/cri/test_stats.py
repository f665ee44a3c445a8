"""Statistics, metrics and events of pods and containers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cri_client import CriClient

from sampan.engine.cri.core.usage import usage_v1, usage_v2
from sampan.engine.cri.pb.events_pb2 import ContainerEventType

V1 = {
    "cpuacct.usage": "7000000\n",
    "memory.usage_in_bytes": "5000\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.stat": "cache 1\ntotal_inactive_file 2000\ntotal_rss 1500\ntotal_pgfault 3\n",
    "pids.current": "4\n",
}
V2 = {
    "cpu.stat": "usage_usec 7000\nuser_usec 1\n",
    "memory.current": "5000\n",
    "memory.max": "6000\n",
    "memory.stat": "anon 1500\ninactive_file 2000\npgfault 3\n",
    "memory.swap.max": "max\n",
    "pids.current": "4\n",
}


def test_usage_is_the_same_from_both_versions_of_cgroups() -> None:
    one, two = usage_v1(V1, 1, 1 << 40), usage_v2(V2, 1, 1 << 40)
    for usage in (one, two):
        assert (usage.cpu_ns, usage.memory, usage.working_set) == (7_000_000, 5000, 3000)
        assert (usage.rss, usage.page_faults, usage.processes) == (1500, 3, 4)
        assert usage.swap_limit == 0
    assert (one.memory_limit, two.memory_limit) == (0, 6000)


@pytest.mark.root
@pytest.mark.real
def test_what_a_pod_and_its_containers_use(cri: CriClient) -> None:
    pod = cri.run_pod(labels={"app": "a"})
    resources: dict[str, Any] = {"linux": {"resources": {"memory_limit_in_bytes": 64 << 20}}}
    work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 300000 /dev/zero > /file"
    script = f"{work}; echo done; exec sleep 100"
    container = cri.start(pod, "sh", "-c", script, labels={"role": "r"}, **resources)
    while b"done" not in cri.crictl("logs", container).stdout:
        pass
    stats = cri.call("ContainerStats", container_id=container).stats
    assert stats.attributes.metadata.name == "main"
    assert stats.cpu.usage_core_nano_seconds.value > 1_000_000
    assert 0 < stats.memory.working_set_bytes.value < 64 << 20
    assert stats.memory.available_bytes.value < 64 << 20
    assert stats.writable_layer.used_bytes.value >= 300_000
    assert stats.writable_layer.inodes_used.value >= 1
    listed = cri.call("ListContainerStats", {"filter": {"label_selector": {"role": "r"}}}).stats
    assert [one.attributes.id for one in listed] == [container]
    assert not cri.call("ListContainerStats", {"filter": {"id": "f" * 64}}).stats
    whole = cri.call("PodSandboxStats", pod_sandbox_id=pod).stats
    assert whole.attributes.metadata.uid.startswith("uid-pod")
    assert whole.linux.cpu.usage_core_nano_seconds.value > 1_000_000
    assert whole.linux.process.process_count.value == 2
    assert [one.attributes.id for one in whole.linux.containers] == [container]
    assert len(cri.call("ListPodSandboxStats").stats) == 1
    assert container[:13] in cri.out("stats", "--seconds", "1")
    assert "pod" in cri.out("statsp", "--seconds", "1")


@pytest.mark.root
@pytest.mark.real
def test_metrics_have_the_labels_that_they_are_described_with(cri: CriClient) -> None:
    pod = cri.run_pod()
    cri.start(pod, "sleep", "100")
    keys = {one.name: one.label_keys for one in cri.call("ListMetricDescriptors").descriptors}
    (found,) = cri.call("ListPodSandboxMetrics").pod_metrics
    assert found.pod_sandbox_id == pod
    metrics = [*found.metrics, *found.container_metrics[0].metrics]
    assert "container_cpu_usage_seconds_total" in {one.name for one in metrics}
    for one in metrics:
        assert len(one.label_values) == len(keys[one.name])


@pytest.mark.root
@pytest.mark.real
def test_events_tell_what_happens_to_a_pod(cri: CriClient) -> None:
    events = cri.events()
    pod = cri.run_pod()
    container = cri.start(pod, "sh", "-c", "exit 3")
    cri.engine.docker("wait", container)
    cri.call("RemoveContainer", container_id=container)
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    told: list[tuple[str, str]] = []
    last: Any = None
    while told[-1:] != [(pod, "DELETED")]:
        last = next(events)
        name = ContainerEventType.Name(last.container_event_type)
        told.append((last.container_id, name.removeprefix("CONTAINER_").removesuffix("_EVENT")))
        assert last.pod_sandbox_status.id == pod
        if told[-1] == (container, "STOPPED"):
            assert [one.exit_code for one in last.containers_statuses] == [3]
    steps = ["CREATED", "STARTED", "STOPPED", "DELETED"]
    assert [step for id_, step in told if id_ == container] == steps
    assert [step for id_, step in told if id_ == pod] == steps
    assert last.pod_sandbox_status.metadata.uid.startswith("uid-pod")
