"""The parts of the OCI runtime that decide without touching the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.oci.core.bundle import Extras, Scheduler, check_id, decode, read_bundle
from sampan.engine.oci.core.default_spec import default_spec, rootless_spec
from sampan.engine.oci.core.features import features
from sampan.engine.oci.core.further import Changes, process_of
from sampan.engine.oci.core.limits import merged, resources_of
from sampan.engine.oci.core.record import Record, Vital, status_of
from sampan.engine.oci.core.signals import signal_number
from sampan.engine.oci.core.stats import interval_s, statistics
from sampan.engine.runtime.core.cgroup import writes_v1, writes_v2
from sampan.engine.runtime.core.plan import plan

SPEC = default_spec(cgroup_namespace=False)


def spec(**changes: Any) -> dict[str, Any]:
    """The default configuration with sections exchanged or, for objects, added to."""
    out = dict(SPEC)
    for key, value in changes.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = {**old, **value}
        out[key] = value
    return out


def test_the_default_configuration_as_steps() -> None:
    made = plan(read_bundle(SPEC, "/bundle").spec)
    assert made.root_path == "/bundle/rootfs"
    names = [type(step).__name__ for step in made.before_pivot]
    assert names == ["Propagate", "BindRoot", *["AttachMount"] * 6, "ViewCgroups", "MakeDevices"]
    names = [type(step).__name__ for step in made.after_pivot]
    assert names == ["SetNames", *["ReadOnlyPath"] * 5, "Mask", "ReadOnlyRoot"]
    assert made.clone_flags == 0x6C020000  # pid, network, ipc, uts, mount


def test_the_rootless_configuration_as_steps() -> None:
    made = plan(read_bundle(rootless_spec(1000, 1001, cgroup_namespace=True), "/bundle").spec)
    assert (made.uid_maps[0].host, made.gid_maps[0].host) == (1000, 1001)
    assert made.clone_flags == 0x3C020000  # a user namespace, and the host's network
    assert made.late_clone_flags == 0x02000000


def test_rules_for_devices_end_with_what_every_container_needs() -> None:
    rules = read_bundle(SPEC, "/b").spec.linux.resources["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert rules[1] == {"allow": True, "type": "c", "access": "m"}
    assert {"allow": True, "type": "c", "access": "rwm", "major": 1, "minor": 3} in rules
    assert read_bundle(spec(linux={"resources": {}}), "/b").spec.linux.resources == {}


def test_a_time_namespace_is_made_apart() -> None:
    kinds = [{"type": "mount"}, {"type": "time"}]
    offsets = {"boottime": {"secs": 5, "nanosecs": 6}, "monotonic": {"secs": -1}}
    bundle = read_bundle(spec(linux={"namespaces": kinds, "timeOffsets": offsets}), "/b")
    assert bundle.time_offsets == "boottime 5 6\nmonotonic -1 0\n"
    assert [one.type for one in bundle.spec.linux.namespaces] == ["mount"]


def test_settings_of_a_process() -> None:
    process = {
        "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 7},
        "execCPUAffinity": {"initial": "0-2,5", "final": "1"},
    }
    bundle = read_bundle(spec(process=process, linux={"personality": {"domain": "LINUX"}}), "/b")
    assert bundle.extras == Extras(
        scheduler=Scheduler(policy=6, runtime_ns=1, deadline_ns=2, period_ns=3),
        io_priority=3 << 13 | 7,
        affinity_at_start=frozenset({0, 1, 2, 5}),
        affinity=frozenset({1}),
        personality=0,
    )
    assert read_bundle(SPEC, "/b").extras == Extras()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"process": {"scheduler": {"policy": "SCHED_OTHER", "nice": 99}}}, "scheduler.nice"),
        ({"process": {"scheduler": {"policy": "SCHED_RR", "runtime": 1}}}, "scheduler.runtime"),
        ({"process": {"scheduler": {"policy": "SCHED_IDLE", "priority": 1}}}, "scheduler.priority"),
        ({"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}}, "priority"),
        ({"process": {"execCPUAffinity": {"initial": "2-1"}}}, "execCPUAffinity.initial"),
        ({"process": {"execCPUAffinity": {"final": "a"}}}, "execCPUAffinity.final"),
        ({"process": {"execCPUAffinity": {"final": "0-99999999"}}}, "execCPUAffinity.final"),
        ({"linux": {"personality": {"domain": "LINUX", "flags": ["x"]}}}, "personality.flags"),
        ({"linux": {"timeOffsets": {"realtime": {"secs": 1}}}}, "timeOffsets"),
        ({"linux": {"memoryPolicy": {}}}, "linux.memoryPolicy"),
        ({"linux": {"resources": {"memory": {"checkBeforeUpdate": True}}}}, "checkBeforeUpdate"),
        ({"zos": {}}, "$.zos"),
        ({"process": None, "hooks": {"prestart": [{"args": []}]}}, "$.hooks.prestart[0].path"),
        ({"mounts": [1]}, "$.mounts[0]"),
        ({"mounts": {}}, "$.mounts"),
        ({"linux": []}, "$.linux"),
        ({"root": None}, "$.root.path"),
    ],
)
def test_a_refusal_names_the_path(changes: Mapping[str, Any], path: str) -> None:
    with pytest.raises((InvalidError, UnsupportedError)) as refused:
        read_bundle(spec(**changes), "/b")
    assert path.rpartition("$.")[2] in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "nul", '{"a":', "1", "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=r"config\.json"):
        decode(text, "config.json")


def test_ids() -> None:
    assert check_id("a-b_c.d+1") == "a-b_c.d+1"
    for bad in ("", ".", "..", "a/b", "a b", "ä", "a\n", "x" * 1025):
        with pytest.raises(InvalidError):
            check_id(bad)


def test_signals() -> None:
    words = ("KILL", "SIGTERM", "sigusr1", "15", "RTMIN+1", "RTMAX-2", "0")
    assert [signal_number(word) for word in words] == [9, 15, 10, 15, 35, 62, 0]
    for bad in ("", "NOPE", "65", "-1", "TERM+1", "RTMIN+x"):
        with pytest.raises(InvalidError):
            signal_number(bad)


def test_a_further_process_is_the_first_one_changed() -> None:
    base = {
        "args": ["sh"],
        "env": ["A=1"],
        "cwd": "/x",
        "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
        "capabilities": {"bounding": ["CAP_KILL"], "ambient": []},
        "consoleSize": {"width": 1, "height": 1},
    }
    same = process_of(base, Changes(args=["ls"]))
    assert same["user"] == base["user"]
    assert (same["args"], same["cwd"], same["env"]) == (["ls"], "/x", ["A=1"])
    assert "consoleSize" not in same
    other = process_of(
        base,
        Changes(["ls"], "/y", ["B=2"], True, "7:8", [9], ["net_raw"], True),
    )
    assert other["user"] == {"uid": 7, "gid": 8, "additionalGids": [9]}
    assert (other["cwd"], other["env"], other["terminal"]) == ("/y", ["A=1", "B=2"], True)
    assert other["capabilities"]["bounding"] == ["CAP_KILL", "CAP_NET_RAW"]
    assert other["capabilities"]["ambient"] == []
    assert other["noNewPrivileges"] is True
    with pytest.raises(InvalidError):
        process_of(base, Changes(["ls"], user="bob"))


def test_limits_are_merged() -> None:
    flags = {"memory": 5, "cpu-share": 2, "cpuset-cpus": "", "pids-limit": None}
    change = resources_of(flags)
    assert change == {"memory": {"limit": 5}, "cpu": {"shares": 2}}
    before = {"memory": {"limit": 1, "swap": 2}, "devices": [1]}
    assert merged(before, change) == {
        "memory": {"limit": 5, "swap": 2},
        "cpu": {"shares": 2},
        "devices": [1],
    }


def test_no_limit_is_left_out() -> None:
    resources = {
        "cpu": {"burst": 5, "idle": 1},
        "memory": {"kernelTCP": 4096},
        "network": {"classID": 7, "priorities": [{"name": "lo", "priority": 3}]},
        "rdma": {"mlx5": {"hcaHandles": 2, "hcaObjects": 9}},
    }
    both = [
        ("net_cls.classid", "7"),
        ("net_prio.ifpriomap", "lo 3"),
        ("rdma.max", "mlx5 hca_handle=2 hca_object=9"),
    ]
    assert [(one.file, one.text) for one in writes_v1(resources)] == [
        ("memory.kmem.tcp.limit_in_bytes", "4096"),
        ("cpu.cfs_burst_us", "5"),
        ("cpu.idle", "1"),
        *both,
    ]
    assert [(one.file, one.text) for one in writes_v2(resources)] == [
        ("cpu.max.burst", "5"),
        ("cpu.idle", "1"),
        *both,
    ]


def test_records_survive_the_disk_and_tell_their_status() -> None:
    record = Record("a", "/b", "/b/rootfs", "2026-01-01T00:00:00Z", {"annotations": {"k": "v"}})
    assert Record.from_json(record.to_json()) == record
    assert status_of(record, Vital(False, False, False)) == "creating"
    made = Record("a", "/b", "/r", "now", {}, pid=7)
    found = [
        status_of(made, Vital(*flags))
        for flags in (
            (False, False, False),
            (True, True, False),
            (True, False, False),
            (True, False, True),
        )
    ]
    assert found == ["stopped", "created", "running", "paused"]
    assert record.state("creating", 1)["annotations"] == {"k": "v"}
    with pytest.raises(InvalidError):
        Record.from_json({"id": "a"})


def test_statistics_of_both_versions() -> None:
    v1 = {
        "cpuacct.usage": "30\n",
        "cpuacct.usage_percpu": "10 20\n",
        "cpuacct.stat": "user 1\nsystem 2\n",
        "memory.usage_in_bytes": "7\n",
        "memory.stat": "cache 3\nrss 4\n",
        "pids.current": "2\n",
        "pids.max": "max\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 5\nTotal 5\n",
    }
    one = statistics(lambda _, name: v1.get(name, ""), 1)
    assert one["cpu"]["usage"] == {
        "total": 30,
        "percpu": [10, 20],
        "kernel": 20_000_000,
        "user": 10_000_000,
    }
    assert (one["memory"]["cache"], one["memory"]["usage"]["usage"]) == (3, 7)
    assert one["pids"] == {"current": 2}
    assert one["blkio"]["ioServicedRecursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 5}
    ]
    v2 = {
        "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_throttled 1\n",
        "memory.current": "9\n",
        "memory.max": "max\n",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3\n",
        "pids.max": "4\n",
    }
    two = statistics(lambda _, name: v2.get(name, ""), 2)
    assert two["cpu"]["usage"] == {"total": 5000, "kernel": 2000, "user": 3000}
    assert two["memory"]["usage"]["limit"] == (1 << 64) - 1
    assert [one["value"] for one in two["blkio"]["ioServiceBytesRecursive"]] == [1, 2]
    assert two["pids"]["limit"] == 4


def test_intervals() -> None:
    assert [interval_s(word) for word in ("500ms", "5s", "1.5m", "x", "s", "")] == [
        0.5,
        5,
        90,
        0,
        0,
        0,
    ]


def test_features_name_what_there_is() -> None:
    document = features("1.2.3")
    assert document["annotations"]["org.sampan.version"] == "1.2.3"
    assert "rro" in document["mountOptions"]
    assert "SCMP_ACT_NOTIFY" not in document["linux"]["seccomp"]["actions"]
    assert "time" in document["linux"]["namespaces"]
