"""Images for a kubelet: pulled from a real registry, listed, described, removed."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from tests.busybox import docker_archive
from tests.cri_client import CriClient
from tests.engine_server import busybox_root
from tests.registry_server import RegistryServer

from sampan.base.errors import InvalidError
from sampan.engine.cri.core.credentials import pull_credentials
from sampan.engine.cri.pb.image_pb2 import AuthConfig

USER = {"kate": "s3cret"}


def test_credentials_come_in_two_forms() -> None:
    whole = pull_credentials(AuthConfig(username="kate", password="s3cret"))
    packed = base64.b64encode(b"kate:s3cret").decode()
    assert pull_credentials(AuthConfig(auth=packed)) == whole
    assert pull_credentials(AuthConfig(identity_token="t")).identity_token == "t"
    for wrong in ("not base64!", base64.b64encode(b"no colon").decode()):
        with pytest.raises(InvalidError, match=r"auth\.auth"):
            pull_credentials(AuthConfig(auth=wrong))


@pytest.fixture(scope="module")
def registry(
    shared_cri: CriClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryServer]:
    """A registry with passwords that has busybox as `box:1`."""
    server = RegistryServer(tmp_path_factory.mktemp("registry"), users=USER).start()
    docker, name = shared_cri.engine.docker, f"{server.host}/box:1"
    try:
        docker("login", "-u", "kate", "-p", USER["kate"], server.host)
        archive = docker_archive(busybox_root(), f"{server.host}/box", ["1"], different=True)
        docker("load", stdin=archive)
        docker("push", name)
        docker("rmi", name)
        yield server
    finally:
        server.stop()


@pytest.mark.root
@pytest.mark.real
def test_an_image_is_pulled_used_and_removed(cri: CriClient, registry: RegistryServer) -> None:
    name = f"{registry.host}/box:1"
    request = {"image": {"image": name}}
    code, message = cri.fails("PullImage", request)
    assert code in ("PERMISSION_DENIED", "NOT_FOUND", "UNAUTHENTICATED"), message
    assert not cri.call("ImageStatus", request).HasField("image")
    out = cri.out("pull", "--creds", f"kate:{USER['kate']}", name)
    assert "Image is up to date for" in out
    image = cri.call("ImageStatus", {**request, "verbose": True})
    assert image.image.repo_tags == [name]
    (digest,) = image.image.repo_digests
    assert digest.startswith(f"{registry.host}/box@sha256:")
    assert image.image.uid.value == 0
    assert image.image.size > 1_000_000
    assert "imageSpec" in image.info["info"]
    auth = {"username": "kate", "password": USER["kate"]}
    pulled = cri.call("PullImage", {**request, "auth": auth}).image_ref
    assert pulled == digest
    pod = cri.run_pod()
    assert cri.run(pod, "echo", "from", image={"image": pulled}) == "from\n"
    container = cri.create(pod, "true", image={"image": image.image.id})
    assert cri.status(container).image_ref == digest
    assert digest.rpartition(":")[2][:12] in cri.out("images", "--digests", "--no-trunc")
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    for _ in range(2):
        cri.call("RemoveImage", request)
    assert not cri.call("ImageStatus", request).HasField("image")


@pytest.mark.root
@pytest.mark.real
def test_what_cannot_be_pulled(cri: CriClient, registry: RegistryServer) -> None:
    auth = {"username": "kate", "password": USER["kate"]}
    missing = {"image": {"image": f"{registry.host}/none:1"}, "auth": auth}
    assert cri.fails("PullImage", missing)[0] == "NOT_FOUND"
    nowhere = {"image": {"image": "127.0.0.1:1/box"}}
    code, message = cri.fails("PullImage", nowhere)
    assert code == "UNAVAILABLE"
    assert message.startswith("RegistryUnavailable")
    assert cri.fails("PullImage", {"image": {"image": "Upper/Case:1"}})[0] == "INVALID_ARGUMENT"
    assert cri.fails("PullImage", {"image": {}})[0] == "INVALID_ARGUMENT"


@pytest.mark.root
@pytest.mark.real
def test_images_are_listed_and_measured(cri: CriClient) -> None:
    listed = cri.call("ListImages").images
    assert [one.repo_tags for one in listed] == [["docker.io/library/busybox:latest"]]
    one = cri.call("ListImages", {"filter": {"image": {"image": "busybox"}}}).images
    assert [image.id for image in one] == [listed[0].id]
    assert not cri.call("ListImages", {"filter": {"image": {"image": "other"}}}).images
    usage = cri.call("ImageFsInfo")
    assert usage.image_filesystems[0].used_bytes.value == listed[0].size
    assert len(usage.container_filesystems) == 1
    assert "usedBytes" in cri.out("imagefsinfo")
    assert "docker.io/library/busybox:latest" in cri.out("inspecti", "busybox")


@pytest.mark.root
@pytest.mark.real
def test_an_image_as_a_volume(cri: CriClient) -> None:
    docker = cri.engine.docker
    docker("run", "--name", "more", "--network", "none", "busybox", "rm", "/data/seed")
    docker("commit", "more", "volume:1")
    docker("rm", "more")
    pod = cri.run_pod()
    mounts = [
        {"container_path": "/one", "image": {"image": "busybox"}},
        {"container_path": "/two", "image": {"image": "volume:1"}},
        {"container_path": "/three", "image": {"image": "volume:1"}, "image_sub_path": "etc"},
        {"container_path": "/four", "image": {"image": "busybox"}, "image_sub_path": "data"},
    ]
    script = "ls /one/data /two/data; touch /two/x; /one/bin/busybox true; exec sleep 100"
    container = cri.start(pod, "sh", "-c", script, mounts=mounts)
    cri.call("RemoveImage", {"image": {"image": "volume:1"}})
    mounted = "grep -cE '^[^ ]+ /(one|two|three|four) ' /proc/mounts"
    look = ["sh", "-c", f"ls /two/bin/busybox /two/data; ls /three /four; {mounted}"]
    seen = cri.call("ExecSync", container_id=container, cmd=look).stdout.decode()
    assert "/two/bin/busybox" in seen
    assert seen.endswith("/four:\nseed\n\n/three:\ngroup\npasswd\n4\n")
    flags = ["grep", "-cE", "^[^ ]+ /(one|two|three|four) .* ro,nosuid,nodev,noexec"]
    assert (
        cri.call("ExecSync", container_id=container, cmd=[*flags, "/proc/mounts"]).stdout == b"4\n"
    )
    cri.call("StopContainer", container_id=container)
    logs = cri.crictl("logs", container)
    assert logs.stdout == b"/one/data:\nseed\n\n/two/data:\n"
    assert b"touch: /two/x: Read-only file system" in logs.stderr
    assert b"/one/bin/busybox: Permission denied" in logs.stderr
    status = cri.status(container)
    assert [one.image.image for one in status.mounts[:2]] == ["busybox", "volume:1"]
    gone = {"container_path": "/x", "image": {"image": "busybox"}, "image_sub_path": "none"}
    container = cri.create(pod, "true", name="gone", mounts=[gone])
    assert cri.fails("StartContainer", container_id=container)[0] == "UNKNOWN"
