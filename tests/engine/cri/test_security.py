"""What a container may do and sees: the parts of its security context, from inside."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cri_client import CriClient

pytestmark = [pytest.mark.root, pytest.mark.real]
STATUS = ["grep", "-E", "^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)", "/proc/self/status"]


def context(**fields: Any) -> dict[str, Any]:
    """A container's `linux` with a security context."""
    return {"linux": {"security_context": fields}}


def status_of(cri: CriClient, pod: str, **fields: Any) -> dict[str, str]:
    """What the kernel says of a container's process with a security context."""
    text = cri.run(pod, *STATUS, **context(**fields))
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.split("\n"))
    }


def test_users_and_groups(cri: CriClient) -> None:
    pod = cri.run_pod()

    def who(**fields: Any) -> str:
        return cri.run(pod, "id", **context(**fields)).strip()

    assert who() == "uid=0(root) gid=0(root) groups=0(root)"
    assert who(run_as_username="bob") == "uid=1000(bob) gid=1001(bob) groups=50(staff),1001(bob)"
    assert who(run_as_user={"value": 1000}, run_as_group={"value": 7}).startswith(
        "uid=1000(bob) gid=7 groups=7,50(staff)"
    )
    assert who(run_as_user={"value": 4711}, supplemental_groups=[9, 8]) == (
        "uid=4711 gid=0(root) groups=0(root),8,9"
    )
    strict = {"supplemental_groups_policy": "Strict", "supplemental_groups": [60]}
    assert who(run_as_username="bob", **strict) == (
        "uid=1000(bob) gid=1001(bob) groups=60,1001(bob)"
    )
    container = cri.start(pod, "sleep", "100", **context(run_as_user={"value": 1000}, **strict))
    user = cri.status(container).user.linux
    assert (user.uid, user.gid, sorted(user.supplemental_groups)) == (1000, 1001, [60, 1001])
    done = cri.call("ExecSync", container_id=container, cmd=["id"])
    assert done.stdout == b"uid=1000(bob) gid=1001(bob) groups=60,1001(bob)\n"
    alone = {"metadata": {"name": "x"}, "image": {"image": "busybox"}, "command": ["true"]}
    alone |= context(run_as_group={"value": 5})
    code, message = cri.fails("CreateContainer", {"pod_sandbox_id": pod, "config": alone})
    assert (code, "run_as_group" in message) == ("INVALID_ARGUMENT", True)


def test_capabilities(cri: CriClient) -> None:
    pod = cri.run_pod(linux={"security_context": {"privileged": True}})
    default = status_of(cri, pod)
    assert default["CapEff"] == default["CapBnd"] == "00000000a80425fb"
    changed = {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_ADMIN"]}
    assert status_of(cri, pod, capabilities=changed)["CapEff"] == "0000000000001000"
    bob = {"run_as_user": {"value": 1000}}
    assert status_of(cri, pod, **bob)["CapEff"] == "0000000000000000"
    raised = {"drop_capabilities": ["ALL"], "add_ambient_capabilities": ["NET_BIND_SERVICE"]}
    found = status_of(cri, pod, capabilities=raised, **bob)
    assert {found[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")} == {
        "0000000000000400"
    }
    everything = status_of(cri, pod, privileged=True)
    assert int(everything["CapEff"], 16) & int("00000000a82425fb", 16) == 0xA82425FB
    assert everything["Seccomp"] == "0"


def test_only_a_privileged_pod_has_privileged_containers(cri: CriClient) -> None:
    config = {"metadata": {"name": "x"}, "image": {"image": "busybox"}, **context(privileged=True)}
    request = {"pod_sandbox_id": cri.run_pod(), "config": config}
    assert cri.fails("CreateContainer", request) == (
        "INVALID_ARGUMENT",
        "no privileged container allowed in sandbox",
    )


def test_seccomp_and_new_privileges(cri: CriClient, tmp_path: Path) -> None:
    pod = cri.run_pod()
    assert status_of(cri, pod, no_new_privs=True)["NoNewPrivs"] == "1"
    assert status_of(cri, pod)["Seccomp"] == "2"
    unconfined = {"profile_type": "Unconfined"}
    assert status_of(cri, pod, seccomp=unconfined)["Seccomp"] == "0"
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    own = {"profile_type": "Localhost", "localhost_ref": str(profile)}
    script = "mkdir /new 2>&1 || true; echo still here"
    out = cri.run(pod, "sh", "-c", script, **context(seccomp=own))
    assert "Operation not permitted" in out
    assert "still here" in out
    config = {"metadata": {"name": "x"}, "image": {"image": "busybox"}}
    for wrong in (str(tmp_path / "missing"), "relative.json"):
        own["localhost_ref"] = wrong
        request = {"pod_sandbox_id": pod, "config": {**config, **context(seccomp=own)}}
        assert cri.fails("CreateContainer", request)[0] == "INVALID_ARGUMENT"


def test_modules_that_the_kernel_does_not_have(cri: CriClient) -> None:
    if Path("/sys/fs/selinux/enforce").exists() or Path("/sys/module/apparmor").exists():
        pytest.skip("this kernel has them")
    pod = cri.run_pod()
    config = {"metadata": {"name": "x"}, "image": {"image": "busybox"}}
    for field in (
        {"selinux_options": {"level": "s0:c1,c2"}},
        {"apparmor": {"profile_type": "Localhost", "localhost_ref": "mine"}},
    ):
        request = {"pod_sandbox_id": pod, "config": {**config, **context(**field)}}
        assert cri.fails("CreateContainer", request)[0] == "INVALID_ARGUMENT"
    assert cri.run(pod, "echo", "ok", **context(apparmor={"profile_type": "RuntimeDefault"}))


def test_paths_that_are_hidden_or_read_only(cri: CriClient) -> None:
    pod = cri.run_pod()
    masked = context(
        masked_paths=["/proc/keys"], readonly_paths=["/proc/sys"], readonly_rootfs=True
    )
    script = "cat /proc/keys | wc -c; touch /etc/x; echo 1 > /proc/sys/kernel/msgmax; exit 0"
    out = cri.run(pod, "sh", "-c", script, **masked)
    assert out.startswith("0\n")
    assert "touch: /etc/x: Read-only file system" in out
    assert "msgmax: Read-only file system" in out
    open_ = cri.run(pod, "sh", "-c", "cat /proc/keys | wc -c; touch /etc/x && echo yes")
    assert "yes" in open_


def test_mounts_of_the_node(cri: CriClient, tmp_path: Path) -> None:
    pod = cri.run_pod()
    (tmp_path / "file").write_text("from the node\n")
    mounts = [
        {"container_path": "/rw", "host_path": str(tmp_path)},
        {"container_path": "/ro", "host_path": str(tmp_path), "readonly": True},
        {
            "container_path": "/rro",
            "host_path": str(tmp_path),
            "readonly": True,
            "recursive_read_only": True,
        },
        {"container_path": "/made", "host_path": str(tmp_path / "made" / "here")},
        {"container_path": "/etc/hosts", "host_path": str(tmp_path / "file")},
    ]
    script = (
        "cat /ro/file /etc/hosts; echo x > /rw/new; touch /ro/y 2>&1; touch /rro/z 2>&1; ls /made"
    )
    out = cri.run(pod, "sh", "-c", script, mounts=mounts)
    assert out.count("from the node") == 2
    assert out.count("Read-only file system") == 2
    assert (tmp_path / "new").read_text() == "x\n"
    assert (tmp_path / "made" / "here").is_dir()
    config = {"metadata": {"name": "x"}, "image": {"image": "busybox"}}
    for wrong, code in (
        (
            {"container_path": "/a", "host_path": "/tmp", "recursive_read_only": True},
            "INVALID_ARGUMENT",
        ),
        ({"container_path": "/a", "image": {"image": "none-such"}}, "NOT_FOUND"),
        (
            {"container_path": "/a", "image": {"image": "busybox"}, "image_sub_path": "../bin"},
            "INVALID_ARGUMENT",
        ),
        ({"container_path": "/a", "host_path": "tmp"}, "INVALID_ARGUMENT"),
    ):
        request = {"pod_sandbox_id": pod, "config": {**config, "mounts": [wrong]}}
        assert cri.fails("CreateContainer", request)[0] == code


@pytest.fixture
def shared_folder(tmp_path: Path) -> Iterator[Path]:
    """A mount of this machine's that is shared with other mount namespaces."""
    mount = ["mount", "--bind", str(tmp_path), str(tmp_path)]
    subprocess.run(mount, check=True)
    subprocess.run(["mount", "--make-shared", str(tmp_path)], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--recursive", str(tmp_path)], check=True)


def test_mounts_that_come_and_go_both_ways(cri: CriClient, shared_folder: Path) -> None:
    privileged = {"security_context": {"privileged": True}}
    pod = cri.run_pod(linux=privileged)

    def mount(name: str, propagation: str) -> dict[str, str]:
        host = {"host_path": str(shared_folder), "propagation": propagation}
        return {"container_path": f"/{name}", **host}

    mounts = [
        mount("private", "PROPAGATION_PRIVATE"),
        mount("slave", "PROPAGATION_HOST_TO_CONTAINER"),
        mount("both", "PROPAGATION_BIDIRECTIONAL"),
    ]
    (shared_folder / "inner").mkdir()
    wait = "while [ ! -e /end ]; do sleep 0.1; done"
    script = f"mount -t tmpfs inside /both/inner && echo hi > /both/inner/file; {wait}"
    container = cri.start(pod, "sh", "-c", script, mounts=mounts, linux=privileged)
    while not (shared_folder / "inner" / "file").exists():
        assert cri.status(container).finished_at == 0
    look = ["sh", "-c", "ls /private/inner /slave/inner"]
    seen = cri.call("ExecSync", container_id=container, cmd=look).stdout.decode()
    assert seen.split() == ["/private/inner:", "/slave/inner:", "file"]


def test_a_pod_has_one_shared_memory(cri: CriClient) -> None:
    pod = cri.run_pod()
    cri.run(pod, "sh", "-c", "echo shared > /dev/shm/file", name="first")
    assert cri.run(pod, "cat", "/dev/shm/file", name="second") == "shared\n"
    assert cri.run(cri.run_pod(), "ls", "/dev/shm") == ""


def test_kernel_parameters_of_a_pod(cri: CriClient) -> None:
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shmmax": "12345678"}
    pod = cri.run_pod(linux={"sysctls": sysctls})
    paths = ["/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shmmax"]
    assert cri.run(pod, "cat", *paths) == "80\n12345678\n"
    wrong = cri.pod_config(linux={"sysctls": {"vm.swappiness": "10"}})
    assert "vm.swappiness" in cri.fails("RunPodSandbox", {"config": wrong})[1]


def test_names_of_a_pod(cri: CriClient) -> None:
    dns = {"servers": ["10.0.0.10"], "searches": ["a.svc", "svc"], "options": ["ndots:5"]}
    pod = cri.run_pod(dns_config=dns)
    files = ["/etc/resolv.conf", "/etc/hostname"]
    name = cri.call("PodSandboxStatus", pod_sandbox_id=pod).status.metadata.name
    expected = f"search a.svc svc\nnameserver 10.0.0.10\noptions ndots:5\n{name}\n"
    assert cri.run(pod, "cat", *files) == expected
    wrong = cri.pod_config(dns_config={"servers": ["10.0.0.10\nsearch evil"]})
    assert cri.fails("RunPodSandbox", {"config": wrong})[0] == "INVALID_ARGUMENT"


def test_a_pod_on_the_nodes_network(cri: CriClient) -> None:
    node = {"namespace_options": {"network": "NODE", "pid": "NODE", "ipc": "NODE"}}
    pod = cri.run_pod(linux={"security_context": node})
    show = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done"
    inside = cri.run(pod, "sh", "-c", show, **context(**node)).split()
    assert inside == [
        str(Path(f"/proc/self/ns/{n}").readlink()) for n in ("net", "ipc", "uts", "pid")
    ]
    assert not cri.call("PodSandboxStatus", pod_sandbox_id=pod).status.network.ip


def test_a_container_that_looks_into_another(cri: CriClient) -> None:
    alone = {"pid": "CONTAINER"}
    pod = cri.run_pod(linux={"security_context": {"namespace_options": alone}})
    target = cri.start(pod, "sleep", "4711", name="target", **context(namespace_options=alone))
    options = {"pid": "TARGET", "target_id": target}
    seen = cri.run(pod, "ps", "-o", "args", name="debug", **context(namespace_options=options))
    assert "sleep 4711" in seen
    other = cri.run_pod()
    config = {"metadata": {"name": "x"}, "image": {"image": "busybox"}}
    request = {"pod_sandbox_id": other, "config": {**config, **context(namespace_options=options)}}
    assert cri.fails("CreateContainer", request)[0] == "INVALID_ARGUMENT"


def test_devices(cri: CriClient) -> None:
    pod = cri.run_pod()
    devices = [{"host_path": "/dev/full", "container_path": "/dev/mine", "permissions": "rw"}]
    script = "ls -l /dev/mine; echo x > /dev/mine"
    out = cri.run(pod, "sh", "-c", script + "; exit 0", devices=devices)
    assert "1,   7" in out
    assert "No space left on device" in out
    config = {"metadata": {"name": "x"}, "image": {"image": "busybox"}}
    missing = [{"host_path": "/dev/nothing-here", "container_path": "/dev/x", "permissions": "r"}]
    request = {"pod_sandbox_id": pod, "config": {**config, "devices": missing}}
    assert cri.fails("CreateContainer", request)[0] == "INVALID_ARGUMENT"
    assert not cri.call("ListContainers").containers


def test_limits_and_their_update(cri: CriClient) -> None:
    pod = cri.run_pod()
    resources = {
        "memory_limit_in_bytes": 64 << 20,
        "cpu_shares": 512,
        "cpu_quota": 50000,
        "cpu_period": 100000,
        "cpuset_cpus": "0",
        "oom_score_adj": 500,
    }
    container = cri.start(pod, "sleep", "100", linux={"resources": resources})
    assert cri.status(container).resources.linux.cpu_quota == 50000
    shown = cri.call("ContainerStatus", container_id=container, verbose=True)
    path = json.loads(shown.info["info"])["cgroup"]
    assert path.startswith(cri.cgroup + "/pod")

    def limits() -> list[str]:
        files = [
            Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
            Path(f"/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us"),
        ]
        return [file.read_text().strip() for file in files if file.exists()]

    version_1 = Path("/sys/fs/cgroup/memory").exists()
    assert limits() == ([str(64 << 20), "50000"] if version_1 else [])
    update = {"container_id": container, "linux": {"memory_limit_in_bytes": 32 << 20}}
    cri.call("UpdateContainerResources", update)
    assert limits() == ([str(32 << 20), "50000"] if version_1 else [])
    status = cri.status(container).resources.linux
    assert (status.memory_limit_in_bytes, status.cpu_quota) == (32 << 20, 50000)
    cri.crictl("update", "--cpu-quota", "20000", container)
    assert cri.status(container).resources.linux.cpu_quota == 20000


def test_what_is_killed_for_want_of_memory(cri: CriClient) -> None:
    pod = cri.run_pod()
    hungry = ["sh", "-c", "a=x; while true; do a=$a$a; done"]
    container = cri.start(
        pod,
        *hungry,
        linux={
            "resources": {"memory_limit_in_bytes": 8 << 20, "memory_swap_limit_in_bytes": 8 << 20}
        },
    )
    cri.engine.docker("wait", container)
    status = cri.status(container)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)


def test_huge_pages(cri: CriClient) -> None:
    pod = cri.run_pod()
    resources = {"hugepage_limits": [{"page_size": "2MB", "limit": 4 << 20}]}
    assert cri.run(pod, "echo", "ok", linux={"resources": resources}) == "ok\n"
    resources = {"hugepage_limits": [{"page_size": "2 MB", "limit": 1}]}
    config = {
        "metadata": {"name": "x"},
        "image": {"image": "busybox"},
        "linux": {"resources": resources},
    }
    request = {"pod_sandbox_id": pod, "config": config}
    assert cri.fails("CreateContainer", request)[0] == "INVALID_ARGUMENT"


USERNS = {
    "mode": "POD",
    "uids": [{"host_id": 1000000, "container_id": 0, "length": 65536}],
    "gids": [{"host_id": 1000000, "container_id": 0, "length": 65536}],
}


def test_a_pod_with_a_user_namespace(cri: CriClient, tmp_path: Path) -> None:
    own = {"namespace_options": {"userns_options": USERNS}}
    pod = cri.run_pod(linux={"security_context": own})
    show = "cat /proc/self/uid_map; readlink /proc/self/ns/user; id; ls -ln /etc/hosts /bin/busybox"
    first = cri.run(pod, "sh", "-c", f"{show}; echo x > /dev/shm/x; touch /mine", **context(**own))
    assert first.split()[:3] == ["0", "1000000", "65536"]
    assert "uid=0(root) gid=0(root)" in first
    assert first.count(" 0        0 ") == 2
    second = cri.run(
        pod, "sh", "-c", "readlink /proc/self/ns/user; cat /dev/shm/x", **context(**own)
    )
    assert second.split() == [first.split()[3], "x"]
    assert second.split()[0] != str(Path("/proc/self/ns/user").readlink())
    mapped = {"uidMappings": USERNS["uids"], "gidMappings": USERNS["gids"]}
    mounts = [{"container_path": "/data", "host_path": str(tmp_path), **mapped}]
    inside = context(**own, run_as_user={"value": 1000})
    script = "touch /data/file 2>/dev/null || echo denied; exec sleep 100"
    tmp_path.chmod(0o777)
    container = cri.start(pod, "sh", "-c", script, mounts=mounts, **inside)
    user = cri.status(container).user.linux
    assert (user.uid, user.gid) == (1000, 1001)
    pid = json.loads(cri.engine.out("inspect", container))[0]["State"]["Pid"]
    assert os.stat(f"/proc/{pid}").st_uid in (0, 1001000)
    done = cri.call("ExecSync", container_id=container, cmd=["id", "-u"])
    assert done.stdout == b"1000\n"
    while not (tmp_path / "file").exists():
        pass
    assert (tmp_path / "file").stat().st_uid == 1000
    cri.engine.kill()
    cri.close()
    cri.engine.start()
    assert cri.call("ExecSync", container_id=container, cmd=["id", "-u"]).stdout == b"1000\n"


def test_user_namespaces_that_cannot_be(cri: CriClient) -> None:
    for wrong in (
        {"mode": "POD"},
        {"mode": "CONTAINER", "uids": USERNS["uids"], "gids": USERNS["gids"]},
        {**USERNS, "uids": [{"host_id": 5, "container_id": 1, "length": 5}]},
    ):
        own = {"namespace_options": {"userns_options": wrong}}
        config = cri.pod_config(linux={"security_context": own})
        assert cri.fails("RunPodSandbox", {"config": config})[0] == "INVALID_ARGUMENT"
    shared = {"namespace_options": {"network": "NODE", "userns_options": USERNS}}
    config = cri.pod_config(linux={"security_context": shared})
    assert cri.fails("RunPodSandbox", {"config": config})[0] == "INVALID_ARGUMENT"
    pod = cri.run_pod()
    own = context(namespace_options={"userns_options": USERNS})
    container = {"metadata": {"name": "x"}, "image": {"image": "busybox"}, **own}
    request = {"pod_sandbox_id": pod, "config": container}
    assert cri.fails("CreateContainer", request)[0] == "INVALID_ARGUMENT"
