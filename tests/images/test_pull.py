"""Pulling from a real registry, also when answers break off, lie, or do not come."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.fault_proxy import Fault, FaultProxy
from tests.images.client import Client
from tests.images.registry_images import Registry, image_files, layer
from tests.registry_server import RegistryServer, skopeo

from sampan.base.errors import (
    InvalidError,
    LimitError,
    NotFoundError,
    SampanError,
    UnavailableError,
)
from sampan.images.core.digest import digest_of
from sampan.images.core.manifest import DOCKER_LIST, OCI_CONFIG, OCI_INDEX
from sampan.images.core.progress import Progress
from sampan.images.core.reference import parse_reference
from sampan.images.registry.pull import Pulled

pytestmark = [pytest.mark.real]

ARMS = [
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm", "variant": "v6"},
    {"os": "linux", "architecture": "arm", "variant": "v7"},
    {"os": "linux", "architecture": "arm64", "variant": "v8"},
]
BIG = [layer("big", 3_000_000), layer("small")]


@pytest.fixture(scope="module")
def big(images: Registry) -> str:
    return images.put_image("faults/big:1", BIG)


def test_layers_come_and_are_unpacked(
    tmp_path: Path, registry: RegistryServer, images: Registry
) -> None:
    async def main() -> None:
        digest = images.put_image("many:1", [layer(f"file{at}") for at in range(8)])
        client = Client(tmp_path)
        found = await client.pull(f"{registry.host}/many:1")
        entry = found.entry
        assert entry.digests == [f"{registry.host}/many@{digest}"]
        tops = [client.store.snapshots.layer_path(chain) for chain in entry.chains()]
        assert [[path.name for path in top.iterdir()] for top in tops] == [
            [f"file{at}"] for at in range(8)
        ]
        assert client.states.count("Pull complete") == 8
        counts = [one for one in client.news if one.status == "Extracting"]
        assert {one.current for one in counts if one.current == one.total}
        assert "Waiting" in client.states

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_the_best_platform_of_an_index(
    tmp_path: Path, registry: RegistryServer, images: Registry, kind: str
) -> None:
    async def main() -> None:
        name = f"arms-{kind}:1"
        digest = images.put_index(name, ARMS, OCI_INDEX if kind == "oci" else DOCKER_LIST)
        client = Client(tmp_path)
        name = f"{registry.host}/{name}"
        plain = await client.pull(name)
        assert plain.digest == digest
        assert plain.entry.image.document["architecture"] in ("amd64", "arm64")
        best = await client.pull(name, "linux/arm/v8")
        assert best.entry.image.document["variant"] == "v7"
        older = await client.pull(name, "linux/arm/v6")
        assert older.entry.image.document["variant"] == "v6"
        assert client.store.find(name, client.platform("linux/arm/v7")) is best.entry
        with pytest.raises(NotFoundError) as refused:
            await client.pull(name, "linux/s390x")
        assert str(refused.value) == (
            "no matching manifest for linux/s390x in the manifest list entries"
        )
        # All of them are there after a restart, under the one name.
        again = Client(tmp_path).store
        family = again.index.family(again.find(name))
        assert len(family) == 3

    asyncio.run(main())


def test_one_image_for_another_platform_is_a_warning(
    tmp_path: Path, registry: RegistryServer, images: Registry
) -> None:
    async def main() -> None:
        images.put_image("single:1", [layer("x")], platform={"architecture": "s390x"})
        client = Client(tmp_path)
        await client.pull(f"{registry.host}/single:1", "linux/arm64")
        assert any("wanted linux/arm64, actual: linux/s390x" in one for one in client.states)

    asyncio.run(main())


def test_a_download_goes_on_where_it_broke_off(
    tmp_path: Path, registry: RegistryServer, big: str
) -> None:
    async def main(proxy: FaultProxy) -> None:
        client = Client(tmp_path)
        await client.pull(f"{proxy.host}/faults/big:1")
        asked = [one.headers.get("range") for one in proxy.requests("GET .*/blobs/")]
        begins = sorted(int(one[6:-1]) for one in asked if one)
        assert len(begins) == 2
        assert 0 < begins[0] < begins[1] < 3_000_000
        assert any(one.startswith("Retrying in") for one in client.states)

    cuts = [
        Fault(f"GET .*{big_blob()}", cut_after=1_500_000),
        Fault(f"GET .*{big_blob()}", cut_after=700_000),
    ]
    with FaultProxy(registry.host, *cuts) as proxy:
        asyncio.run(main(proxy))


def big_blob() -> str:
    raw, _ = image_files(BIG)
    digest: str = json.loads(raw)["layers"][0]["digest"]
    return digest


def test_it_goes_on_after_a_cancel_and_a_restart(
    tmp_path: Path, registry: RegistryServer, big: str
) -> None:
    async def main(proxy: FaultProxy) -> None:
        client = Client(tmp_path)
        task = asyncio.create_task(client.pull(f"{proxy.host}/faults/big:1"))
        await client.until("Downloading", big_blob())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.store.index.entries() == []
        assert any(big_blob()[7:] in path.name for path in client.partial())
        again = Client(tmp_path)
        await again.pull(f"{proxy.host}/faults/big:1")
        assert any("range" in one.headers for one in proxy.requests("GET .*/blobs/"))
        assert again.partial() == []

    hold = Fault(f"GET .*{big_blob()}", hold_after=2_000_000)
    with FaultProxy(registry.host, hold) as proxy:
        asyncio.run(main(proxy))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(f"GET .*{big_blob()}", flip=True), "filesystem layer verification failed"),
        (Fault(f"GET .*{big_blob()}", more=b"x"), "longer than its"),
        (Fault("GET .*/manifests/", flip=True, times=9), "digest mismatch"),
        (Fault("GET .*/blobs/", cut_after=50, times=99), "ended|EOF|connection"),
        (Fault("HEAD .*/manifests/", status=429, times=9), "toomanyrequests"),
        (Fault("(GET|HEAD) .*/manifests/", status=503, times=9), "503 Service Unavailable"),
        (Fault("GET .*/manifests/", more=b" " * (4 << 20)), "larger than"),
    ],
    ids=["flipped", "longer", "manifest", "cut", "busy", "down", "huge"],
)
def test_lies_and_failures_leave_nothing(
    tmp_path: Path, registry: RegistryServer, big: str, fault: Fault, words: str
) -> None:
    async def main(proxy: FaultProxy) -> None:
        client = Client(tmp_path)
        with pytest.raises(SampanError, match=words):
            await client.pull(f"{proxy.host}/faults/big:1")
        assert client.store.index.entries() == []
        async with client.store.changing():
            await client.store.collect()
        assert client.store.content.digests() == set()

    with FaultProxy(registry.host, fault) as proxy:
        asyncio.run(main(proxy))


def test_a_busy_registry_is_asked_again(tmp_path: Path, registry: RegistryServer, big: str) -> None:
    async def main(proxy: FaultProxy) -> None:
        await Client(tmp_path).pull(f"{proxy.host}/faults/big:1")

    faults = [
        Fault("HEAD .*/manifests/", status=503),
        Fault("GET .*/blobs/", status=502),
        Fault("GET .*/blobs/", status=429, headers={"Retry-After": "1"}),
    ]
    with FaultProxy(registry.host, *faults) as proxy:
        asyncio.run(main(proxy))


def test_blobs_may_be_elsewhere(tmp_path: Path, registry: RegistryServer, big: str) -> None:
    async def main(proxy: FaultProxy) -> None:
        await Client(tmp_path).pull(f"{proxy.host}/faults/big:1")

    place = f"http://{registry.host}/v2/faults/big/blobs/{big_blob()}"
    fault = Fault(f"GET .*{big_blob()}", status=307, headers={"Location": place})
    with FaultProxy(registry.host, fault) as proxy:
        asyncio.run(main(proxy))


def test_pulls_at_once_share_their_downloads(
    tmp_path: Path, registry: RegistryServer, big: str
) -> None:
    async def main(proxy: FaultProxy) -> None:
        client = Client(tmp_path)
        reference = parse_reference(f"{proxy.host}/faults/big:1")
        joined = [asyncio.Event() for _ in range(5)]

        async def pull(at: int) -> Pulled:
            def hear(news: Progress) -> None:
                if news.status == "Downloading" and news.total > 1_000_000:
                    joined[at].set()

            return await client.distribution.pull(reference, hear)

        first, *others = (asyncio.create_task(pull(at)) for at in range(5))
        for one in joined:
            await one.wait()
        first.cancel()
        proxy.release.set()
        found = await asyncio.gather(*others)
        assert len({one.entry.id for one in found}) == 1

    hold = Fault(f"GET .*{big_blob()}", hold_after=2_000_000)
    with FaultProxy(registry.host, hold) as proxy:
        asyncio.run(main(proxy))
        assert len(proxy.requests(f"GET .*{big_blob()}")) == 1


def test_mirrors_come_first(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        digest = images.put_image("library/thing:latest", [layer("x")])
        mirrors = ["http://127.0.0.1:1/", f"http://{registry.host}/"]
        client = Client(tmp_path, mirrors=mirrors)
        found = await client.pull("thing")
        assert found.entry.tags == ["docker.io/library/thing:latest"]
        assert found.entry.digests == [f"docker.io/library/thing@{digest}"]

    asyncio.run(main())


def test_what_is_no_image(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        raw, blobs = image_files([layer("x")])
        for digest, data in blobs.items():
            images.put_blob("artifact", data, digest)
        changed = raw.replace(OCI_CONFIG.encode(), b"application/vnd.example.thing")
        images.put_manifest("artifact", "1", changed)
        client = Client(tmp_path)
        with pytest.raises(InvalidError, match=r"application/vnd\.example\.thing"):
            await client.pull(f"{registry.host}/artifact:1")
        huge = json.loads(raw)
        huge["config"]["size"] = 9 << 20
        images.put_manifest("artifact", "2", json.dumps(huge).encode())
        with pytest.raises(LimitError):
            await client.pull(f"{registry.host}/artifact:2")
        assert client.store.index.entries() == []

    asyncio.run(main())


def test_images_of_skopeo(tmp_path: Path, registry: RegistryServer, big: str) -> None:
    async def main() -> None:
        source = f"docker://{registry.host}/faults/big:1"
        target = f"docker://{registry.host}/faults/zstd:1"
        words = ("--src-tls-verify=false", "--dest-tls-verify=false", "--dest-compress-format=zstd")
        skopeo("copy", *words, "--format=oci", "--dest-compress", source, target)
        client = Client(tmp_path)
        found = await client.pull(f"{registry.host}/faults/zstd:1")
        assert found.entry.diff_ids == tuple(map(digest_of, BIG))

    asyncio.run(main())


def test_nobody_there(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(UnavailableError, match="connection refused"):
            await Client(tmp_path).pull("127.0.0.1:1/a")

    asyncio.run(main())
