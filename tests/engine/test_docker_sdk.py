"""The Docker SDK for Python at the oldest and the newest version of the API that is served."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import docker
import pytest
from docker.errors import APIError, ContainerError, NotFound
from tests.docker_api import DockerApi
from tests.engine_server import EngineServer

pytestmark = [pytest.mark.real, pytest.mark.root]


@pytest.fixture(params=["1.40", "1.44", "1.50"])
def client(engine: EngineServer, request: pytest.FixtureRequest) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine.url, version=request.param)
    try:
        yield client
    finally:
        client.close()


def test_a_container_from_run_to_remove(client: docker.DockerClient) -> None:
    box = client.containers.run(
        "busybox",
        ["sh", "-c", "echo out; echo err >&2; cat"],
        detach=True,
        stdin_open=True,
        network_mode="none",
        labels={"k": "v"},
        mem_limit="64m",
        healthcheck={"test": ["CMD", "true"], "interval": 10**9},
        ulimits=[docker.types.Ulimit(name="nofile", soft=64, hard=128)],
        mounts=[docker.types.Mount("/ram", None, type="tmpfs", tmpfs_size=1 << 20)],
    )
    assert [one.id for one in client.containers.list(filters={"label": "k=v"})] == [box.id]
    code, output = box.exec_run(["sh", "-c", "echo $A; exit 4"], environment={"A": "b"})
    assert (code, output) == (4, b"b\n")
    assert box.top()["Titles"][0] == "UID"
    assert box.stats(stream=False)["memory_stats"]["limit"] == 64 << 20
    box.pause()
    box.reload()
    assert box.status == "paused"
    box.unpause()
    box.update(mem_limit="32m", memswap_limit="32m")
    box.rename("renamed")
    box.kill()
    assert box.wait()["StatusCode"] == 137
    assert box.logs(stdout=True, stderr=False) == b"out\n"
    assert box.logs(stdout=False, stderr=True) == b"err\n"
    box.remove()
    with pytest.raises(NotFound):
        client.containers.get("renamed")


def test_files_go_in_and_out(client: docker.DockerClient) -> None:
    box = client.containers.create("busybox", ["cat", "/tmp/in"], network_mode="none")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("in")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"data"))
    assert box.put_archive("/tmp", packed.getvalue())
    box.start()
    box.wait()
    assert box.logs() == b"data"
    pieces, stat = box.get_archive("/tmp/in")
    assert stat["size"] == 4
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        file = archive.extractfile("in")
        assert file is not None
        assert file.read() == b"data"
    box.remove()


def test_what_goes_wrong_is_an_error_of_its_kind(client: docker.DockerClient) -> None:
    with pytest.raises(ContainerError) as failed:
        client.containers.run("busybox", "false", network_mode="none", remove=True)
    assert failed.value.exit_status == 1
    with pytest.raises(APIError) as refused:
        client.containers.create("busybox", mem_limit=1, network_mode="none")
    assert refused.value.explanation == "Minimum memory limit allowed is 6MB"
    with pytest.raises(NotFound):
        client.volumes.get("nosuch")


def test_volumes_events_and_usage(client: docker.DockerClient) -> None:
    volume = client.volumes.create("sdk", labels={"a": "b"}, driver_opts={})
    assert [one.name for one in client.volumes.list(filters={"label": "a=b"})] == ["sdk"]
    events = client.events(decode=True, filters={"volume": "sdk"}, since=1)
    assert next(events)["Action"] == "create"
    events.close()
    volume.remove()
    usage = client.df()
    assert {"LayersSize", "Images", "Containers", "Volumes"} <= set(usage)
    assert client.info()["Swarm"]["LocalNodeState"] == "inactive"
    assert client.version()["ApiVersion"] == "1.50"
    assert client.containers.prune() == {"ContainersDeleted": None, "SpaceReclaimed": 0}


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "1.39",
            "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade "
            "your client to a newer version",
        ),
        (
            "1.99",
            "client version 1.99 is too new. Maximum supported API version is 1.50",
        ),
    ],
)
def test_versions_that_are_not_spoken(engine: EngineServer, version: str, message: str) -> None:
    answer = DockerApi(engine.socket, version).call("GET", "/info")
    assert (answer.status, answer.message) == (400, message)


def test_answers_belong_to_their_version(engine: EngineServer) -> None:
    engine.docker("create", "--network", "none", "--name", "one", "busybox", "true")
    kinds = {
        version: DockerApi(engine.socket, version)
        .call("GET", "/containers/one/logs?stdout=1")
        .headers["Content-Type"]
        for version in ("1.41", "1.42")
    }
    assert kinds == {
        "1.41": "application/vnd.docker.raw-stream",
        "1.42": "application/vnd.docker.multiplexed-stream",
    }
    fields = {
        version: set(DockerApi(engine.socket, version).call("GET", "/images/json").document[0])
        & {"VirtualSize", "Descriptor"}
        for version in ("1.43", "1.47", "1.48")
    }
    assert fields == {"1.43": {"VirtualSize"}, "1.47": set(), "1.48": {"Descriptor"}}


def test_usage_of_one_kind(engine: EngineServer) -> None:
    api = DockerApi(engine.socket, "1.50")
    usage = api.call("GET", "/system/df?type=volume&type=container").document
    assert (usage["Images"], usage["BuildCache"]) == (None, None)
    assert (usage["Volumes"], usage["Containers"]) == ([], [])
    refused = api.call("GET", "/system/df?type=foo")
    assert (refused.status, refused.message) == (400, "unknown object type: foo")
