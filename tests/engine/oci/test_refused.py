"""What cannot be done is refused with the field that asks for it, and nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.oci.runtimes import Bundles, Runtime

pytestmark = [pytest.mark.root]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ociVersion": "2.0.0"}, "$.ociVersion"),
        ({"process": {"cwd": "relative"}}, "$.process.cwd"),
        ({"process": {"args": []}}, "$.process.args"),
        ({"process": {"apparmorProfile": "x"}}, "$.process.apparmorProfile"),
        ({"process": {"selinuxLabel": "x"}}, "$.process.selinuxLabel"),
        ({"process": {"scheduler": {"policy": "SCHED_NO"}}}, "$.process.scheduler.policy"),
        ({"process": {"ioPriority": {"class": "x"}}}, "$.process.ioPriority.class"),
        ({"process": {"rlimits": [{"type": "RLIMIT_NO"}]}}, "RLIMIT_NO"),
        ({"process": {"capabilities": {"bounding": ["CAP_NO"]}}}, "CAP_NO"),
        ({"process": {"terminal": True}}, "console socket"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "Intel RDT"),
        ({"linux": {"personality": {"domain": "BSD"}}}, "$.linux.personality.domain"),
        ({"linux": {"timeOffsets": {"boottime": {"secs": 1}}}}, "$.linux.timeOffsets"),
        (
            {"linux": {"resources": {"rdma": {"a": {"hcaHandles": 1}}}}},
            "this machine has no rdma.max",
        ),
        (
            {"linux": {"resources": {"network": {"classID": 1}}}},
            "this machine has no net_cls.classid",
        ),
        ({"linux": {"resources": {"network": {"priorities": [{}]}}}}, "network.priorities[0].name"),
        ({"linux": {"resources": {"blockIO": {"leafWeight": 9}}}}, "blockIO.leafWeight"),
        ({"linux": {"resources": {"hugepageLimits": [{"pageSize": "3MB"}]}}}, "3MB"),
        ({"linux": {"resources": {"cpu": {"cpus": "999"}}}}, "cpuset.cpus"),
        ({"linux": {"sysctl": {"kernel.panic": "1"}}}, "kernel.panic"),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NO"}}}, "SCMP_ACT_NO"),
        ({"linux": {"rootfsPropagation": "sideways"}}, "rootfsPropagation"),
        ({"linux": {"cgroupsPath": "/../x"}}, "$.linux.cgroupsPath"),
        ({"linux": {"namespaces": [{"type": "pid"}]}}, "mount namespace"),
        ({"root": {"path": "/nonexistent"}}, "$.root.path"),
        ({"mounts": [{"destination": "rel", "type": "tmpfs"}]}, "not absolute"),
        ({"windows": {}}, "$.windows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_configuration(
    oci: Runtime, bundles: Bundles, changes: dict[str, Any], words: str
) -> None:
    bundle = bundles.make("true", **changes)
    assert words in oci.fails("create", "--bundle", bundle, "refused")
    assert oci.ok("list", "-q") == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create",), "requires exactly 1 argument"),
        (("create", "--bundle", "/nonexistent", "x"), "chdir /nonexistent"),
        (("create", "--bundle", "/", "x"), "config.json not found"),
        (("create", "--no-pivot", "x"), "--no-pivot"),
        (("state", "nosuch"), "container does not exist"),
        (("state", "a/b"), "invalid container ID format"),
        (("state", ".."), "invalid container ID format"),
        (("kill", "--bogus", "x"), "flag provided but not defined: -bogus"),
        (("delete", "nosuch"), "container does not exist"),
        (("--systemd-cgroup", "list"), "systemd"),
        (("--rootless", "maybe", "create", "x"), "--rootless"),
        (("checkpoint", "x"), "not supported yet"),
        (("restore", "x"), "not supported yet"),
        (("nosuch",), "No help topic for 'nosuch'"),
        (("exec",), "requires a minimum of 1 argument"),
    ],
)
def test_a_command(oci: Runtime, words: tuple[str, ...], told: str) -> None:
    assert told in oci.fails(*words).replace('\\"', '"')


def test_an_id_in_use(oci: Runtime, bundles: Bundles) -> None:
    oci.ok("create", "--bundle", bundles.make("true"), "twice")
    before = oci.state("twice")
    assert "already exists" in oci.fails("create", "--bundle", bundles.make("true"), "twice")
    assert oci.state("twice") == before
    assert 'unknown signal "NOPE"' in oci.fails("kill", "twice", "NOPE").replace('\\"', '"')


def test_forced_removal_of_nothing_succeeds(oci: Runtime) -> None:
    oci.ok("delete", "--force", "nosuch")


def test_the_log_tells_why(oci: Runtime, tmp_path: Any) -> None:
    log = tmp_path / "log.json"
    oci.fails("--log", str(log), "--log-format", "json", "state", "nosuch")
    assert log.read_text().startswith('{"level":"error","msg":"container does not exist","time":"')


def test_debugging_tells_what_is_done(oci: Runtime) -> None:
    done = oci.run("--debug", "delete", "--force", "nosuch")
    assert 'level=debug msg="delete nosuch"' in done.stderr
    assert "exit code 0" in done.stderr
