"""The pure parts of CRI: messages to sections of records, and back."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.cri.api.server import CriServer
from sampan.engine.cri.core.container import signal_text
from sampan.engine.cri.core.frames import FrameReader
from sampan.engine.cri.core.mounts import image_volume
from sampan.engine.cri.core.resources import merged_resources, oci_resources
from sampan.engine.cri.core.sandbox import cgroup_parent, hosts_text, port_bindings, resolv_text
from sampan.engine.cri.core.security import (
    capability_sets,
    id_ranges,
    inside_id,
    seccomp_profile,
    user_section,
)
from sampan.engine.cri.core.status import nanoseconds, unique
from sampan.engine.cri.pb.container_pb2 import Signal
from sampan.engine.cri.pb.resources_pb2 import LinuxContainerResources
from sampan.engine.cri.pb.sandbox_pb2 import DNSConfig, PodSandboxConfig, PortMapping, Protocol
from sampan.engine.cri.pb.security_pb2 import (
    IDMapping,
    NamespaceMode,
    NamespaceOption,
    SecurityProfile,
    SupplementalGroupsPolicy,
)
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.record import ZERO_TIME
from sampan.engine.daemon.shell.engine import Engine

pieces = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=40)))


@given(pieces, st.integers(1, 20))
def test_frames_come_back_however_they_are_cut(sent: list[tuple[int, bytes]], step: int) -> None:
    wire = b"".join(struct.pack(">B3xI", kind, len(data)) + data for kind, data in sent)
    reader = FrameReader()
    got = [one for at in range(0, len(wire), step) for one in reader.feed(wire[at : at + step])]
    for kind in (1, 2):
        assert b"".join(data for one, data in got if one == kind) == b"".join(
            data for one, data in sent if one == kind
        )


def test_signals_as_records_have_them() -> None:
    assert signal_text(Signal.RUNTIME_DEFAULT) == ""
    assert signal_text(Signal.SIGUSR1) == "SIGUSR1"
    assert signal_text(Signal.SIGCLD) == "SIGCHLD"
    assert [signal_text(one) for one in (Signal.SIGRTMIN, Signal.SIGRTMINPLUS3)] == ["34", "37"]
    assert [signal_text(one) for one in (Signal.SIGRTMAX, Signal.SIGRTMAXMINUS2)] == ["64", "62"]


def test_moments_keep_their_nanoseconds() -> None:
    assert nanoseconds("1970-01-01T00:00:01.000000002Z") == 1_000_000_002
    assert nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert nanoseconds(ZERO_TIME) == nanoseconds("") == 0


def test_ids_may_be_cut_short_where_they_are_clear() -> None:
    def refuse() -> Exception:
        return KeyError("none")

    assert unique("ab", ["abc", "xyz"], refuse) == "abc"
    for wanted in ("a", "", "q"):
        with pytest.raises(KeyError):
            unique(wanted, ["abc", "acd"], refuse)


def test_capabilities_of_root_and_of_others() -> None:
    for user in ("", "0", "root", "0:5"):
        assert capability_sets(user, [], ["ALL"], [], privileged=False)["effective"] == []
        held = capability_sets(user, ["SYS_TIME"], ["ALL"], [], privileged=False)
        assert held["effective"] == held["permitted"] == held["bounding"] == ["CAP_SYS_TIME"]
    other = capability_sets("1000", ["SYS_TIME"], ["ALL"], ["KILL"], privileged=False)
    assert other["bounding"] == ["CAP_KILL", "CAP_SYS_TIME"]
    assert other["effective"] == other["ambient"] == other["inheritable"] == ["CAP_KILL"]
    with pytest.raises(InvalidError, match="CAP_NONSENSE"):
        capability_sets("", ["NONSENSE"], [], [], privileged=False)


def test_seccomp_profiles_old_and_new() -> None:
    def new(kind: int, path: str = "") -> SecurityProfile:
        return SecurityProfile(profile_type=kind, localhost_ref=path)  # type: ignore[arg-type]

    def kind(given: SecurityProfile | None, old: str = "", privileged: bool = False) -> str:
        return seccomp_profile(given, old, privileged=privileged).kind

    assert kind(None) == kind(None, "runtime/default") == "default"
    assert kind(None, "unconfined") == kind(new(SecurityProfile.Unconfined)) == "unconfined"
    assert kind(new(SecurityProfile.RuntimeDefault), "unconfined") == "default"
    assert kind(new(SecurityProfile.Localhost, "/p.json")) == kind(None, "localhost//p.json")
    assert kind(None, privileged=True) == "unconfined"
    for wrong in ((new(SecurityProfile.Localhost), ""), (None, "whatever")):
        with pytest.raises(InvalidError):
            kind(*wrong)


def test_users_and_policies() -> None:
    merge, strict = SupplementalGroupsPolicy.Merge, SupplementalGroupsPolicy.Strict
    assert user_section("", [5], merge) == {
        "username": "0",
        "additionalGids": [5],
        "x-memberships": "merge",
    }
    assert user_section("bob:7", [], strict)["x-memberships"] == "strict"
    with pytest.raises(InvalidError, match="supplemental_groups"):
        user_section("bob", [-1], merge)


def test_id_maps_of_a_pod() -> None:
    mapping = [
        IDMapping(host_id=9000, container_id=10, length=5),
        IDMapping(host_id=5000, container_id=0, length=10),
    ]
    options = NamespaceOption()
    assert id_ranges(options) is None
    options.userns_options.uids.extend(mapping)
    options.userns_options.gids.extend(mapping[1:])
    assert id_ranges(options) == {"uids": [[5000, 10], [9000, 5]], "gids": [[5000, 10]]}
    assert [inside_id([[5000, 10], [9000, 5]], one) for one in (5003, 9001, 1)] == [3, 11, 65534]
    options.userns_options.mode = NamespaceMode.NODE
    assert id_ranges(options) is None


def test_limits_and_what_an_update_leaves() -> None:
    old = LinuxContainerResources(cpu_shares=5, memory_limit_in_bytes=1 << 20)
    old.hugepage_limits.add(page_size="2MB", limit=1)
    new = LinuxContainerResources(cpu_shares=7)
    new.hugepage_limits.add(page_size="1GB", limit=2)
    merged = merged_resources(old, new)
    assert (merged.cpu_shares, merged.memory_limit_in_bytes) == (7, 1 << 20)
    sections = oci_resources(merged)
    assert sections["hugepageLimits"] == [{"pageSize": "1GB", "limit": 2}]
    assert sections["memory"] == {"limit": 1 << 20, "swap": None}
    for wrong in (
        LinuxContainerResources(cpu_shares=-1),
        LinuxContainerResources(memory_limit_in_bytes=5, memory_swap_limit_in_bytes=4),
    ):
        with pytest.raises(InvalidError):
            oci_resources(wrong)


def test_files_about_names() -> None:
    assert resolv_text(DNSConfig(), "as the node\n") == "as the node\n"
    dns = DNSConfig(servers=["9.9.9.9", "8.8.8.8"], options=["ndots:2"])
    assert resolv_text(dns, "") == "nameserver 9.9.9.9\nnameserver 8.8.8.8\noptions ndots:2\n"
    assert hosts_text("web", ["10.0.0.2", "fd00::2"]).endswith("10.0.0.2\tweb\nfd00::2\tweb\n")


def test_ports_and_parents() -> None:
    ports = [
        PortMapping(protocol=Protocol.UDP, container_port=53, host_port=5353, host_ip="127.0.0.1"),
        PortMapping(container_port=80, host_port=8080),
        PortMapping(container_port=80, host_port=8081),
        PortMapping(container_port=9),
    ]
    assert port_bindings(PodSandboxConfig(port_mappings=ports)) == {
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
        "80/tcp": [
            {"HostIp": "", "HostPort": "8080"},
            {"HostIp": "", "HostPort": "8081"},
        ],
    }
    pod = PodSandboxConfig()
    assert cgroup_parent(pod) == "/pods"
    for wrong in ("kubepods.slice", "/a/../../b", "system.slice:x:y"):
        pod.linux.cgroup_parent = wrong
        with pytest.raises(InvalidError, match="cgroup_parent"):
            cgroup_parent(pod)


def test_volumes_of_images() -> None:
    one = image_volume("data", ["/layer"], mapped=True)
    assert (one["Destination"], one["Source"], one["Options"][-1]) == ("/data", "/layer", "idmap")
    several = image_volume("/data/", ["/b", "/a"], mapped=False)
    assert (several["FileSystem"], several["Options"][0]) == ("overlay", "lowerdir=/b:/a")
    assert image_volume("/none", [], mapped=True)["FileSystem"] == "tmpfs"


def test_without_root_there_are_no_pods(tmp_path: Path) -> None:
    engine = Engine(EngineOptions(tmp_path / "data", tmp_path / "exec", rootless=True))
    with pytest.raises(UnsupportedError, match="--cri-socket needs root"):
        CriServer(engine)
