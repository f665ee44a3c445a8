"""The docker command line with a real registry."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from tests.busybox import docker_archive
from tests.engine_server import EngineServer, busybox_root
from tests.images.registry_images import Registry
from tests.registry_server import RegistryServer, skopeo

pytestmark = [pytest.mark.root, pytest.mark.real]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    place = tmp_path_factory.mktemp("registry")
    server = RegistryServer(place).start()
    try:
        archive = docker_archive(busybox_root(), "busybox", ["1", "2"], different=True)
        (place / "busybox.tar").write_bytes(archive)
        for tag in ("1", "2"):
            source = f"docker-archive:{place}/busybox.tar:busybox:{tag}"
            target = f"docker://{server.host}/team/busybox:{tag}"
            skopeo("copy", "--dest-tls-verify=false", source, target)
        yield server
    finally:
        server.stop()


@pytest.fixture
def name(engine: EngineServer, registry: RegistryServer) -> Iterator[str]:
    """A repository of which nothing is here."""
    yield f"{registry.host}/team/busybox"
    engine.clear()
    ids = set(engine.out("images", "-q", f"{registry.host}/team/busybox").split())
    if ids:
        engine.docker("rmi", "-f", *ids)


def remote_digest(name: str) -> str:
    target = f"docker://{name}"
    found = skopeo("inspect", "--tls-verify=false", "--format={{.Digest}}", target)
    return found.strip()


def test_pull_and_run(engine: EngineServer, name: str) -> None:
    lines = engine.out("pull", f"{name}:1").splitlines()
    assert lines[0] == "1: Pulling from team/busybox"
    layer = lines[1].partition(":")[0]
    for state in ("Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"):
        assert f"{layer}: {state}" in lines
    digest = remote_digest(f"{name}:1")
    assert lines[-3:] == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}:1",
        f"{name}:1",
    ]
    assert engine.run(f"{name}:1", "echo", "pulled") == "pulled\n"
    shown = json.loads(engine.out("image", "inspect", f"{name}:1"))[0]
    assert shown["RepoDigests"] == [f"{name}@{digest}"]
    assert shown["RepoTags"] == [f"{name}:1"]


def test_pull_again_and_by_digest(engine: EngineServer, name: str) -> None:
    engine.docker("pull", f"{name}:1")
    again = engine.out("pull", f"{name}:1")
    assert f"Status: Image is up to date for {name}:1" in again
    engine.docker("rmi", f"{name}:1")
    digest = remote_digest(f"{name}:1")
    engine.docker("pull", "-q", f"{name}@{digest}")
    listed = engine.out("images", "--digests", "--format={{.Tag}} {{.Digest}}", name)
    assert listed == f"<none> {digest}\n"
    assert engine.run(f"{name}@{digest}", "echo", "by digest") == "by digest\n"


def test_pull_all_tags(engine: EngineServer, name: str) -> None:
    engine.docker("pull", "-a", name)
    assert sorted(engine.out("images", "--format={{.Tag}}", name).split()) == ["1", "2"]


def test_run_pulls_what_is_missing(engine: EngineServer, name: str) -> None:
    assert engine.run(f"{name}:2", "echo", "there") == "there\n"


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("team/busybox:none", "manifest for {} not found: manifest unknown: manifest unknown"),
        ("none:1", "manifest for {} not found: manifest unknown: manifest unknown"),
        (f"team/busybox@sha256:{'0' * 64}", "manifest for {} not found: manifest unknown"),
    ],
)
def test_what_is_not_there(
    engine: EngineServer, registry: RegistryServer, tail: str, words: str
) -> None:
    wanted = f"{registry.host}/{tail}"
    done = engine.docker("pull", wanted, check=False)
    assert done.returncode == 1
    assert words.format(wanted) in done.stderr.decode()


def test_nobody_there(engine: EngineServer) -> None:
    done = engine.docker("pull", "127.0.0.1:1/a", check=False)
    assert b"dial tcp 127.0.0.1:1: connect: connection refused" in done.stderr


def test_the_sdk_pulls_and_looks(engine: EngineServer, name: str) -> None:
    client = docker.DockerClient(base_url=engine.url, version="1.45")
    try:
        image = client.images.pull(name, tag="1")
        assert image.tags == [f"{name}:1"]
        data = client.images.get_registry_data(f"{name}:1")
        assert data.id == remote_digest(f"{name}:1")
        assert data.has_platform("linux/amd64")
        with pytest.raises(docker.errors.NotFound):
            client.images.pull(name, tag="none")
    finally:
        client.close()


def test_the_command_line_inspects_manifests(engine: EngineServer, name: str) -> None:
    shown = json.loads(engine.out("manifest", "inspect", "--insecure", f"{name}:1"))
    assert len(shown["layers"]) == 1


def test_a_registry_without_search(engine: EngineServer, registry: RegistryServer) -> None:
    term = urllib.parse.quote(f"{registry.host}/busybox", safe="")
    done = engine.docker("search", urllib.parse.unquote(term), check=False)
    assert b"Unexpected status code 404" in done.stderr


def test_logging_in(engine: EngineServer, tmp_path: Path) -> None:
    server = RegistryServer(tmp_path / "private", users={"me": "secret"}).start()
    try:
        done = engine.docker("pull", f"{server.host}/a", check=False)
        assert b"no basic auth credentials" in done.stderr
        words = ("login", "-u", "me", "--password-stdin", server.host)
        done = engine.docker(*words, stdin=b"wrong", check=False)
        assert b"401 Unauthorized" in done.stderr
        assert b"Login Succeeded" in engine.docker(*words, stdin=b"secret").stdout
        done = engine.docker("pull", f"{server.host}/a", check=False)
        assert b"manifest unknown" in done.stderr
        base = f"{server.host}/base:1"
        engine.docker("tag", "busybox", base)
        engine.docker("push", base)
        engine.docker("rmi", base)
        dockerfile = f"FROM {base}\nLABEL from=private\n".encode()
        legacy = {"DOCKER_BUILDKIT": "0"}
        engine.docker("build", "-t", "built:1", "-", stdin=dockerfile, env=legacy)
        engine.docker("rmi", "built:1", base)
    finally:
        engine.docker("logout", server.host, check=False)
        server.stop()


def pushed_layer(name: str) -> dict[str, object]:
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    layer: dict[str, object] = json.loads(raw)["layers"][0]
    return layer


def test_push_and_have_it_back(engine: EngineServer, registry: RegistryServer) -> None:
    first, second = f"{registry.host}/mine/first", f"{registry.host}/mine/second"
    engine.docker("tag", "busybox", f"{first}:1")
    lines = engine.out("push", f"{first}:1").splitlines()
    assert lines[0] == f"The push refers to repository [{first}]"
    layer = lines[1].partition(":")[0]
    assert f"{layer}: Preparing" in lines
    assert f"{layer}: Pushed" in lines
    digest = remote_digest(f"{first}:1")
    assert lines[-1].startswith(f"1: digest: {digest} size: ")
    assert f"{layer}: Layer already exists" in engine.out("push", f"{first}:1")
    engine.docker("tag", "busybox", f"{second}:1")
    assert f"{layer}: Mounted from mine/first" in engine.out("push", f"{second}:1")
    assert pushed_layer(f"{first}:1") == pushed_layer(f"{second}:1")
    engine.docker("rmi", f"{first}:1", f"{second}:1")
    assert engine.run(f"{second}:1", "echo", "back") == "back\n"
    engine.docker("rmi", f"{second}:1")
    engine.load()


def test_push_all_tags(engine: EngineServer, registry: RegistryServer) -> None:
    name = f"{registry.host}/mine/many"
    for tag in ("a", "b"):
        engine.docker("tag", "busybox", f"{name}:{tag}")
    engine.docker("push", "-a", name)
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{name}"))
    assert sorted(listed["Tags"]) == ["a", "b"]
    engine.docker("rmi", f"{name}:a", f"{name}:b")


def test_what_was_pulled_goes_as_it_came(engine: EngineServer, name: str) -> None:
    engine.docker("pull", f"{name}:1")
    copy = name.replace("team", "copy")
    engine.docker("tag", f"{name}:1", f"{copy}:1")
    assert "Mounted from team/busybox" in engine.out("push", f"{copy}:1")
    assert remote_digest(f"{copy}:1") == remote_digest(f"{name}:1")
    engine.docker("rmi", f"{copy}:1")


def test_nothing_to_push(engine: EngineServer, registry: RegistryServer) -> None:
    name = f"{registry.host}/mine/nothing"
    done = engine.docker("push", f"{name}:1", check=False)
    assert f"An image does not exist locally with the tag: {name}" in done.stderr.decode()
    done = engine.docker("push", "-a", name, check=False)
    assert f"An image does not exist locally with the tag: {name}" in done.stderr.decode()


def test_platforms_of_one_name(engine: EngineServer, registry: RegistryServer) -> None:
    arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
    platforms = [{"os": "linux", "architecture": "amd64"}, arm]
    digest = Registry(registry.host).put_index("many/platforms:1", platforms)
    name = f"{registry.host}/many/platforms:1"
    engine.docker("pull", "--platform=linux/arm/v7", name)
    done = engine.docker("pull", "--platform=linux/s390x", name, check=False)
    words = b"no matching manifest for linux/s390x in the manifest list entries"
    assert words in done.stderr
    engine.docker("pull", name)
    tree = engine.out("images", "--tree", name)
    assert "linux/amd64" in tree
    assert "linux/arm/v7" in tree
    client = docker.APIClient(base_url=engine.url, version="1.48")
    try:
        url = client._url("/images/json?manifests=1&shared-size=1")
        rows = [one for one in client._get(url).json() if name in one["RepoTags"]]
        kinds = [one["Kind"] for one in rows[0]["Manifests"]]
        assert kinds == ["image", "image", "attestation"]
        assert [one["Available"] for one in rows[0]["Manifests"]][:2] == [True, True]
        url = (
            client._url("/images/{0}/json", name)
            + "?platform="
            + urllib.parse.quote(json.dumps(arm))
        )
        shown = client._get(url).json()
        assert (shown["Architecture"], shown["Variant"]) == ("arm", "v7")
        assert shown["Descriptor"]["digest"] == digest
    finally:
        client.close()
    engine.docker("rmi", name)


def test_an_archive_of_one_platform(
    engine: EngineServer, registry: RegistryServer, tmp_path: Path
) -> None:
    arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
    Registry(registry.host).put_index("archived:1", [{"os": "linux", "architecture": "amd64"}, arm])
    name, archive = f"{registry.host}/archived:1", str(tmp_path / "archive.tar")
    engine.docker("pull", "--platform=linux/arm/v7", name)
    engine.docker("pull", name)
    engine.docker("save", "--platform=linux/arm/v7", "-o", archive, name)
    engine.docker("rmi", name)
    done = engine.docker("load", "--platform=linux/amd64", "-i", archive, check=False)
    assert b"no image for the requested platform (linux/amd64)" in done.stderr
    assert engine.out("load", "-i", archive) == f"Loaded image: {name}\n"
    assert engine.out("inspect", "--format={{.Architecture}}", name) == "arm\n"
    engine.docker("rmi", name)


def test_importing_from_a_url(engine: EngineServer, registry: RegistryServer) -> None:
    data = busybox_root()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    Registry(registry.host).put_blob("files", data, digest)
    url = f"http://{registry.host}/v2/files/blobs/{digest}"
    lines = engine.out("import", url, "imported:1").splitlines()
    assert lines[0] == f"Downloading from {url}"
    assert engine.run("imported:1", "echo", "there") == "there\n"
    done = engine.docker("import", url.replace("files", "none"), "imported:2", check=False)
    assert done.returncode == 1
    engine.docker("rmi", "imported:1")
