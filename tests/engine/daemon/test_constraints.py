"""What a container may not ask for, and what a kernel cannot give it; pure."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.base.errors import InvalidError, SampanError
from sampan.engine.daemon.core.config import fill_config, fill_host_config
from sampan.engine.daemon.core.constraints import (
    Machine,
    check_modes,
    parse_set,
    show_set,
    with_defaults,
    without_what_is_missing,
)
from sampan.engine.daemon.core.options import ContainerDefaults
from sampan.engine.daemon.core.security import Modules, Security, parse_security

FILES = frozenset(
    "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes "
    "memory.swappiness memory.oom_control pids.max cpu.shares cpu.cfs_quota_us cpuset.cpus "
    "blkio.throttle.read_bps_device".split()
)
MACHINE = Machine(FILES, 1, frozenset({0, 1}), frozenset({0}))
BARE = Machine(frozenset(), 2, frozenset({0}), frozenset({0}))


def host(**given: Any) -> dict[str, Any]:
    return fill_host_config(given, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"IpcMode": "secret"}, "invalid IPC mode: secret"),
        ({"IpcMode": "container:"}, "invalid IPC mode: container:"),
        ({"PidMode": "private"}, "invalid PID mode: private"),
        ({"UTSMode": "container:x"}, "invalid UTS mode: container:x"),
        ({"UsernsMode": "other"}, "invalid user namespace mode: other"),
        ({"CgroupnsMode": "none"}, "invalid cgroup namespace mode: none"),
        ({"OomScoreAdj": 1001}, "Invalid value 1001, range for oom score adj"),
        ({"ShmSize": -1}, "SHM size can not be less than 0"),
        ({"StorageOpt": {"size": "1g"}}, "--storage-opt is supported only for overlay over xfs"),
        ({"SecurityOpt": ["nonsense"]}, 'invalid --security-opt 1: "nonsense"'),
        ({"SecurityOpt": ["color=red"]}, 'invalid --security-opt 2: "color=red"'),
        ({"SecurityOpt": ["no-new-privileges=maybe"]}, "invalid --security-opt 2"),
    ],
)
def test_refused_in_docker_s_words(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        check_modes(fill_config({}), host(**given), MACHINE)


def test_a_name_and_the_host_s_names_contradict_each_other() -> None:
    with pytest.raises(InvalidError, match="conflicting options: hostname and the UTS mode"):
        check_modes(fill_config({"Hostname": "box"}), host(UTSMode="host"), MACHINE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"Privileged": True}, "privileged mode is incompatible with user namespaces"),
        ({"NetworkMode": "host"}, "cannot share the host's network namespace"),
        ({"PidMode": "host"}, "cannot share the host PID namespace"),
    ],
)
def test_what_a_mapped_container_may_not_share(given: dict[str, Any], message: str) -> None:
    mapped = Machine(FILES, 1, frozenset({0}), frozenset({0}), remapped=True)
    with pytest.raises(InvalidError, match=message):
        check_modes(fill_config({}), host(**given), mapped)
    check_modes(fill_config({}), host(**given, UsernsMode="host"), mapped)


def test_security_options_in_both_spellings() -> None:
    options = ["no-new-privileges", "seccomp:unconfined", "label=level:s0", "apparmor=x"]
    found = parse_security([*options, "writable-cgroups=true"])
    assert found == Security(True, "unconfined", "x", ("level:s0",), True)
    assert parse_security(["no-new-privileges:false"]).no_new_privileges is False
    assert parse_security([]).no_new_privileges is None


def test_modules_are_ignored_where_the_kernel_has_none() -> None:
    given = host(SecurityOpt=["apparmor=mine", "label=type:x"])
    check_modes(fill_config({}), given, MACHINE)
    for modules in (Modules(apparmor=True), Modules(selinux=True)):
        armed = Machine(FILES, 1, frozenset({0}), frozenset({0}), modules)
        with pytest.raises(SampanError, match="not supported yet"):
            check_modes(fill_config({}), given, armed)


def test_limits_that_the_kernel_lacks_are_left_out_with_a_warning() -> None:
    given = host(Memory=64 << 20, PidsLimit=5, CpuShares=9, BlkioWeight=300, MemorySwappiness=3)
    changed, warnings = without_what_is_missing(given, BARE)
    assert (changed["Memory"], changed["PidsLimit"], changed["BlkioWeight"]) == (0, None, 0)
    assert warnings == [
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. "
        "Limitation discarded.",
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
        "Memory swappiness discarded.",
        "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. "
        "PIDs limit discarded.",
        "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
        "Weight discarded.",
    ]
    same, few = without_what_is_missing({**given, "BlkioWeight": 0}, MACHINE)
    assert (same["Memory"], few) == (64 << 20, [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"CpusetCpus": "0-7"}, "Requested CPUs are not available - requested 0-7, available: 0-1"),
        ({"CpusetCpus": "a"}, "Invalid value a for cpuset cpus"),
        ({"CpusetMems": "3"}, "Requested memory nodes are not available"),
        ({"MemorySwappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"MemoryReservation": 1}, "Minimum memory reservation allowed is 6MB"),
        ({"CpuRealtimeRuntime": 5}, "kernel does not support CPU real-time scheduler"),
    ],
)
def test_values_that_no_kernel_takes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        without_what_is_missing(host(**given), MACHINE)


def test_sets_of_numbers() -> None:
    assert parse_set("0-2,7") == frozenset({0, 1, 2, 7})
    assert parse_set("") == frozenset()
    assert [parse_set(text) for text in ("-", "2-1", "1,", "x", "0-99999")] == [None] * 5
    assert show_set(frozenset({0, 1, 2, 5, 7, 8})) == "0-2,5,7-8"


def test_the_daemon_s_defaults_fill_what_is_silent() -> None:
    defaults = ContainerDefaults(ipc_mode="shareable", shm_size_bytes=1 << 20)
    found = with_defaults({"IpcMode": "none"}, defaults, BARE)
    assert (found["IpcMode"], found["ShmSize"], found["CgroupnsMode"]) == (
        "none",
        1 << 20,
        "private",
    )
    assert with_defaults(None, defaults, MACHINE)["IpcMode"] == "shareable"
    assert with_defaults({"Privileged": True}, defaults, BARE)["CgroupnsMode"] == "host"


def test_what_tells_of_the_processors_is_masked() -> None:
    path = "/sys/devices/system/cpu/cpu0/thermal_throttle"
    warm = Machine(frozenset(), 2, frozenset({0}), frozenset({0}), thermal_paths=(path,))
    found = with_defaults({}, ContainerDefaults(), warm)
    assert {path, "/proc/keys"} <= set(found["MaskedPaths"])
    assert "/proc/sys" in found["ReadonlyPaths"]
    assert with_defaults({"MaskedPaths": []}, ContainerDefaults(), warm)["MaskedPaths"] == []
    assert "MaskedPaths" not in with_defaults({"Privileged": True}, ContainerDefaults(), warm)
