"""The life of pods and their containers, as a kubelet drives it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.cri_client import CriClient

from sampan.engine.cri.pb.container_pb2 import ContainerState
from sampan.engine.cri.pb.sandbox_pb2 import PodSandboxState

pytestmark = [pytest.mark.root, pytest.mark.real]


def test_a_pod_from_its_run_to_its_removal_by_crictl(cri: CriClient) -> None:
    pod_file = cri.file("pod.json", cri.pod_config())
    container_file = cri.container_file(
        "container.json",
        {
            "metadata": {"name": "main"},
            "image": {"image": "busybox"},
            "command": ["sh", "-c", "echo out; echo err >&2; exec sleep 100"],
            "log_path": "main/0.log",
            "linux": {},
        },
    )
    pod = cri.out("runp", pod_file).strip()
    assert "SANDBOX_READY" in cri.out("inspectp", pod)
    container = cri.out("create", pod, container_file, pod_file).strip()
    assert cri.status(container).state == ContainerState.CONTAINER_CREATED
    cri.crictl("start", container)
    assert container[:13] in cri.out("ps")
    logs = cri.crictl("logs", container)
    assert (logs.stdout, logs.stderr) == (b"out\n", b"err\n")
    assert "imageId" in cri.out("inspect", container)
    cri.crictl("stop", "-t", "0", container)
    assert cri.status(container).exit_code == 137
    cri.crictl("rm", container)
    cri.crictl("stopp", pod)
    assert "NotReady" in cri.out("pods")
    cri.crictl("rmp", pod)
    assert cri.out("pods", "-q") == cri.out("ps", "-aq") == ""


def test_containers_of_a_pod_share_its_namespaces(cri: CriClient) -> None:
    pod = cri.run_pod()
    show = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; hostname"
    one, two = (cri.run(pod, "sh", "-c", show).split() for _ in range(2))
    assert one[:4] == two[:4]
    assert one[4].startswith("pod")
    alone: dict[str, Any] = {
        "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}
    }
    three = cri.run(pod, "sh", "-c", show, **alone).split()
    assert three[:3] == one[:3]
    assert three[3] != one[3]


def test_stopping_and_removing_do_no_harm_twice(cri: CriClient) -> None:
    pod = cri.run_pod()
    container = cri.start(pod, "sleep", "100")
    for _ in range(2):
        cri.call("StopContainer", container_id=container)
        cri.call("StopPodSandbox", pod_sandbox_id=pod)
    for _ in range(2):
        cri.call("RemoveContainer", container_id=container)
        cri.call("RemovePodSandbox", pod_sandbox_id=pod)
        cri.call("StopContainer", container_id=container)
        cri.call("StopPodSandbox", pod_sandbox_id=pod)
    assert cri.fails("ContainerStatus", container_id=container)[0] == "NOT_FOUND"
    assert cri.fails("PodSandboxStatus", pod_sandbox_id=pod)[0] == "NOT_FOUND"


def test_removing_a_pod_takes_running_containers_along(cri: CriClient) -> None:
    pod = cri.run_pod()
    cri.start(pod, "sleep", "100")
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    assert not cri.call("ListContainers").containers
    assert cri.engine.out("ps", "-aq") == ""


def test_a_sandbox_that_cannot_start_leaves_nothing(cri: CriClient) -> None:
    config = cri.pod_config(linux={"sysctls": {"kernel.no_such_thing": "1"}})
    code, message = cri.fails("RunPodSandbox", {"config": config})
    assert code == "UNKNOWN"
    assert "kernel.no_such_thing" in message
    assert not cri.call("ListPodSandbox").items
    config["linux"]["sysctls"] = {}
    cri.run_pod(config)


def test_a_name_is_taken_until_its_pod_is_removed(cri: CriClient) -> None:
    config = cri.pod_config()
    pod = cri.run_pod(config)
    assert cri.fails("RunPodSandbox", {"config": config})[0] == "ALREADY_EXISTS"
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    cri.run_pod(config)


def test_what_cannot_be_is_refused(cri: CriClient) -> None:
    assert cri.fails("RunPodSandbox", {"config": {}})[0] == "INVALID_ARGUMENT"
    wanted = {"config": cri.pod_config(), "runtime_handler": "kata"}
    assert cri.fails("RunPodSandbox", wanted) == (
        "INVALID_ARGUMENT",
        'no runtime for "kata" is configured',
    )
    slice_ = cri.pod_config(linux={"cgroup_parent": "kubepods-besteffort.slice"})
    assert cri.fails("RunPodSandbox", {"config": slice_})[0] == "INVALID_ARGUMENT"
    ports = cri.pod_config(port_mappings=[{"container_port": 80, "host_port": 8080}])
    assert cri.fails("RunPodSandbox", {"config": ports})[0] == "INVALID_ARGUMENT"
    pod = cri.run_pod()
    config = {"metadata": {"name": "a"}, "image": {"image": "nothing-here"}}
    request = {"pod_sandbox_id": pod, "config": config}
    assert cri.fails("CreateContainer", request)[0] == "NOT_FOUND"
    request["pod_sandbox_id"] = "0" * 64
    assert cri.fails("CreateContainer", request)[0] == "NOT_FOUND"
    cri.call("StopPodSandbox", pod_sandbox_id=pod)
    request["pod_sandbox_id"] = pod
    assert cri.fails("CreateContainer", request)[0] == "FAILED_PRECONDITION"


def test_a_program_that_is_not_there_is_the_containers_end(cri: CriClient) -> None:
    pod = cri.run_pod()
    container = cri.create(pod, "/no/such/program")
    code, message = cri.fails("StartContainer", container_id=container)
    assert code == "UNKNOWN"
    assert "no such file or directory" in message
    status = cri.status(container)
    assert status.state == ContainerState.CONTAINER_EXITED
    assert (status.reason, status.exit_code) == ("StartError", 127)
    assert status.finished_at > 0
    again = cri.fails("StartContainer", container_id=container)
    assert again[0] == "FAILED_PRECONDITION"


def test_exit_codes_and_reasons(cri: CriClient) -> None:
    pod = cri.run_pod()
    for code, reason in ((0, "Completed"), (3, "Error")):
        container = cri.start(pod, "sh", "-c", f"exit {code}", name=f"exit{code}")
        cri.engine.docker("wait", container)
        status = cri.status(container)
        assert (status.exit_code, status.reason) == (code, reason)
        assert 0 < status.created_at <= status.started_at <= status.finished_at


def test_lists_are_filtered(cri: CriClient) -> None:
    first = cri.run_pod(labels={"app": "one", "tier": "x"})
    second = cri.run_pod(labels={"app": "two", "tier": "x"})
    running = cri.start(first, "sleep", "100", name="runs", labels={"role": "a"})
    made = cri.create(second, "true", name="waits", labels={"role": "b"})

    def pods(**chosen: object) -> list[str]:
        return [one.id for one in cri.call("ListPodSandbox", {"filter": chosen}).items]

    def containers(**chosen: object) -> list[str]:
        return [one.id for one in cri.call("ListContainers", {"filter": chosen}).containers]

    assert pods() == [second, first]
    assert pods(label_selector={"app": "one"}) == [first]
    assert pods(label_selector={"app": "one", "tier": "y"}) == []
    assert pods(id=second[:13]) == [second]
    assert pods(state={"state": "SANDBOX_NOTREADY"}) == []
    assert containers(pod_sandbox_id=first) == [running]
    assert containers(state={"state": "CONTAINER_CREATED"}) == [made]
    assert containers(label_selector={"role": "b"}) == [made]
    assert containers(id=running) == [running]


def test_pods_outlive_a_killed_daemon(cri: CriClient) -> None:
    pod = cri.run_pod(annotations={"who": "me"})
    container = cri.start(pod, "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
    before = cri.status(container)
    for end in (cri.engine.kill, cri.engine.stop):
        end()
        cri.close()
        cri.engine.start()
        assert cri.status(container) == before
        shown = cri.call("PodSandboxStatus", pod_sandbox_id=pod)
        assert shown.status.state == PodSandboxState.SANDBOX_READY
        assert dict(shown.status.annotations) == {"who": "me"}
        assert [one.id for one in shown.containers_statuses] == [container]
    cri.call("StopContainer", container_id=container, timeout=10)
    assert cri.status(container).exit_code == 7


def test_docker_sees_pods_and_leaves_them_alone(cri: CriClient) -> None:
    pod = cri.run_pod()
    container = cri.start(pod, "true")
    cri.engine.docker("wait", container)
    assert "k8s_main_pod" in cri.engine.out("ps", "-a", "--format", "{{.Names}}")
    cri.engine.docker("container", "prune", "-f")
    assert cri.status(container).exit_code == 0


def test_a_pods_files_are_made_again(cri: CriClient) -> None:
    """They are missing when the daemon was killed right after the sandbox had started."""
    pod = cri.run_pod()
    shutil.rmtree(cri.engine.place / "data" / "containers" / pod / "pod")
    assert cri.run(pod, "cat", "/etc/hostname").startswith("pod")


def test_the_socket_is_roots(cri: CriClient) -> None:
    assert cri.socket.stat().st_mode & 0o777 == 0o660
    assert cri.socket.stat().st_uid == 0


def test_a_log_is_written_in_cris_form_and_opened_anew(cri: CriClient) -> None:
    pod = cri.run_pod()
    script = "head -c 20000 /dev/zero | tr '\\0' a; echo; read line; echo $line; read line"
    container = cri.start(pod, "sh", "-c", script, stdin=True)
    log = Path(cri.status(container).log_path)
    lines = _lines(log, 2)
    assert [line[1:3] for line in lines] == [["stdout", "P"], ["stdout", "F"]]
    assert "".join(line[3] for line in lines) == "a" * 20000
    rotated = log.with_suffix(".rotated")
    log.rename(rotated)
    cri.call("ReopenContainerLog", container_id=container)
    assert log.exists()
    assert log.read_text() == ""


def _lines(log: Path, wanted: int) -> list[list[str]]:
    """The records of a log, once there are enough."""
    while True:
        found = [line.split(" ", 3) for line in log.read_text().splitlines()]
        if len(found) >= wanted:
            return found
