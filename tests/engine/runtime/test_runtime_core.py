"""The pure parts of the runtime: capabilities, users, mount options, cgroup writes, plans."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.base.errors import InvalidError
from sampan.base.passwd import Identity, resolve
from sampan.engine.runtime.core.capability import ALL, DEFAULT, mask, tweak
from sampan.engine.runtime.core.cgroup import Write, shares_to_weight, writes_v1, writes_v2
from sampan.engine.runtime.core.mount_options import NODEV, NOSUID, RDONLY, parse_options
from sampan.engine.runtime.core.plan import (
    AttachMount,
    BindRoot,
    MakeDevices,
    Mask,
    MountRoot,
    Propagate,
    ReadOnlyPath,
    ReadOnlyRoot,
    RootMount,
    SetNames,
    plan,
)
from sampan.engine.runtime.core.spec import parse_spec

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001:Bob:/home/bob:/bin/sh\n"
GROUP = "root:x:0:\nstaff:x:50:bob,eve\nbob:x:1001:\n"


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "/bundle/rootfs"},
        "process": {"args": ["true"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]},
        **changes,
    }


def test_the_default_capabilities_are_docker_s_fourteen() -> None:
    assert len(DEFAULT) == 14
    assert mask(DEFAULT) == 0xA80425FB
    assert set(tweak((), ())) == set(DEFAULT)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (["NET_ADMIN"], ["ALL"], {"CAP_NET_ADMIN"}),
        (["ALL"], ["SYS_ADMIN"], set(ALL) - {"CAP_SYS_ADMIN"}),
        (["cap_sys_time"], ["chown"], (set(DEFAULT) | {"CAP_SYS_TIME"}) - {"CAP_CHOWN"}),
    ],
)
def test_adding_and_dropping(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert set(tweak(add, drop)) == expected


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(InvalidError, match='invalid capability: "CAP_FLY"'):
        tweak(["fly"], [])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", Identity(0, 0, (0,), "/root")),
        ("bob", Identity(1000, 1001, (1001, 50), "/home/bob")),
        ("1000", Identity(1000, 1001, (1001, 50), "/home/bob")),
        ("bob:staff", Identity(1000, 50, (50,), "/home/bob")),
        ("4711:12", Identity(4711, 12, (12,), "/")),
    ],
)
def test_users_by_name_and_number(wanted: str, expected: Identity) -> None:
    assert resolve(wanted or "0", (), PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("eve", "unable to find user eve: no matching entries in passwd file"),
        ("bob:club", "unable to find group club: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range"),
    ],
)
def test_users_that_are_not_there(wanted: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        resolve(wanted, (), PASSWD, GROUP)


def test_mount_options() -> None:
    found = parse_options(["nosuid", "nodev", "ro", "size=1m", "mode=755", "rslave"])
    assert found.set_ == NOSUID | NODEV | RDONLY
    assert found.data == ("size=1m", "mode=755")
    assert (found.propagation, found.propagation_recursive) == (1 << 19, True)
    assert parse_options(["ro", "rw"]).clear == RDONLY
    assert parse_options(["rbind", "rro"]).recursive_set == RDONLY
    assert parse_options(["rbind", "ridmap"]).idmap == "ridmap"


RESOURCES = {
    "memory": {"limit": 64 << 20, "swap": 128 << 20, "swappiness": -1},
    "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0-1"},
    "pids": {"limit": 100},
    "devices": [
        {"allow": False},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
    ],
}


def test_cgroup_writes_of_version_1() -> None:
    assert writes_v1(RESOURCES) == [
        Write("devices", "devices.deny", "a *:* rwm"),
        Write("devices", "devices.allow", "c 1:3 rw"),
        Write("memory", "memory.limit_in_bytes", str(64 << 20)),
        Write("memory", "memory.memsw.limit_in_bytes", str(128 << 20)),
        Write("cpu", "cpu.shares", "512"),
        Write("cpu", "cpu.cfs_period_us", "100000"),
        Write("cpu", "cpu.cfs_quota_us", "50000"),
        Write("cpuset", "cpuset.cpus", "0-1"),
        Write("pids", "pids.max", "100"),
    ]


def test_cgroup_writes_of_version_2() -> None:
    assert writes_v2(RESOURCES) == [
        Write("memory", "memory.max", str(64 << 20)),
        Write("memory", "memory.swap.max", str(64 << 20)),
        Write("cpu", "cpu.weight", "20"),
        Write("cpu", "cpu.max", "50000 100000"),
        Write("cpuset", "cpuset.cpus", "0-1"),
        Write("pids", "pids.max", "100"),
    ]
    assert [shares_to_weight(n) for n in (2, 1024, 262144)] == [1, 39, 10000]


MORE_RESOURCES = {
    "memory": {"reservation": 32 << 20, "swappiness": 10, "disableOOMKiller": True},
    "cpu": {"realtimePeriod": 1_000_000, "realtimeRuntime": 950_000, "mems": "0"},
    "pids": {"limit": -1},
    "blockIO": {
        "weight": 300,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1 << 20}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 99}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
    "unified": {"memory.high": "1000"},
}


def test_further_writes_of_version_1() -> None:
    assert writes_v1(MORE_RESOURCES) == [
        Write("memory", "memory.soft_limit_in_bytes", str(32 << 20)),
        Write("memory", "memory.swappiness", "10"),
        Write("memory", "memory.oom_control", "1"),
        Write("cpu", "cpu.rt_period_us", "1000000"),
        Write("cpu", "cpu.rt_runtime_us", "950000"),
        Write("cpuset", "cpuset.mems", "0"),
        Write("pids", "pids.max", "max"),
        Write("blkio", "blkio.weight", "300"),
        Write("blkio", "blkio.weight_device", "8:0 500"),
        Write("blkio", "blkio.throttle.read_bps_device", "8:0 1048576"),
        Write("blkio", "blkio.throttle.write_iops_device", "8:16 99"),
        Write("hugetlb", "hugetlb.2MB.limit_in_bytes", str(4 << 20)),
    ]


def test_further_writes_of_version_2() -> None:
    assert writes_v2(MORE_RESOURCES) == [
        Write("memory", "memory.low", str(32 << 20)),
        Write("cpuset", "cpuset.mems", "0"),
        Write("pids", "pids.max", "max"),
        Write("io", "io.weight", "default 2930"),
        Write("io", "io.weight", "8:0 4950"),
        Write("io", "io.max", "8:0 rbps=1048576"),
        Write("io", "io.max", "8:16 wiops=99"),
        Write("hugetlb", "hugetlb.2MB.max", str(4 << 20)),
        Write("memory", "memory.high", "1000"),
    ]


def test_a_plan_orders_the_steps() -> None:
    document = spec(
        hostname="box",
        mounts=[{"destination": "/proc", "type": "proc", "source": "proc"}],
        root={"path": "/bundle/rootfs", "readonly": True},
    )
    document["linux"] |= {"maskedPaths": ["/proc/keys"], "readonlyPaths": ["/proc/sys"]}
    found = plan(parse_spec(document), [RootMount("overlay", "overlay", ("lowerdir=/a:/b",))])
    assert [type(step) for step in found.before_pivot] == [
        Propagate,
        MountRoot,
        AttachMount,
        MakeDevices,
    ]
    assert [type(step) for step in found.after_pivot] == [
        SetNames,
        ReadOnlyPath,
        Mask,
        ReadOnlyRoot,
    ]
    assert found.clone_flags == 0x00020000 | 0x04000000
    assert BindRoot() in plan(parse_spec(spec())).before_pivot


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ociVersion": "2.0"}, r"\$.ociVersion"),
        ({"root": {}}, r"\$.root.path: is required"),
        ({"process": {"args": []}}, r"\$.process.args: must not be empty"),
        ({"process": {"args": ["x"], "cwd": "here"}}, "Cwd must be an absolute path"),
        ({"process": {"args": [1]}}, r"\$.process.args\[0\]: expected a string"),
        ({"linux": {"namespaces": [{"type": "moon"}]}}, "unknown namespace 'moon'"),
        ({"mounts": [{"destination": ""}]}, r"\$.mounts\[0\].destination"),
    ],
)
def test_a_wrong_specification_names_the_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        parse_spec(spec(**changes))


@pytest.mark.parametrize(
    ("linux", "hostname", "message"),
    [
        ({"namespaces": [{"type": "mount"}]}, "box", "without a private UTS namespace"),
        (
            {"namespaces": [{"type": "mount"}], "sysctl": {"net.ipv4.ip_forward": "1"}},
            "",
            "not allowed in the hosts network namespace",
        ),
        (
            {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.panic": "1"}},
            "",
            "not in a separate kernel namespace",
        ),
    ],
)
def test_a_plan_refuses_contradictions(linux: dict[str, Any], hostname: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        plan(parse_spec(spec(linux=linux, hostname=hostname)))
