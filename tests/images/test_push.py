"""Pushing to a real registry, also when it breaks off."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fault_proxy import Fault, FaultProxy
from tests.images.client import Client
from tests.images.registry_images import layer
from tests.images.test_store import once, tar_of
from tests.registry_server import RegistryServer, skopeo

from sampan.base.errors import NotFoundError, SampanError
from sampan.images.core.digest import digest_of
from sampan.images.shell.exchange import load_images, save_images

pytestmark = [pytest.mark.real]

LAYERS = [layer("big", 3_000_000), layer("small")]


def archive(name: str, layers: Sequence[bytes] = LAYERS) -> bytes:
    config = {"rootfs": {"type": "layers", "diff_ids": list(map(digest_of, layers))}}
    files = {f"{at}.tar": data for at, data in enumerate(layers)}
    manifest = [{"Config": "c.json", "RepoTags": [name], "Layers": list(files)}]
    documents = {
        "c.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    return tar_of({**files, **documents})


def test_what_is_pushed_is_pulled(tmp_path: Path, registry: RegistryServer) -> None:
    async def main() -> None:
        name = f"{registry.host}/pushed:1"
        client = Client(tmp_path / "one")
        [(entry, _)] = await load_images(client.store, once(archive(name)))
        [digest] = await client.push(name)
        assert entry.digests == [f"{registry.host}/pushed@{digest}"]
        other = Client(tmp_path / "two")
        found = await other.pull(name)
        assert (found.digest, found.entry.id) == (digest, entry.id)
        # Compressing again gives the same bytes, so that nothing has to be sent.
        [(entry, _)] = await load_images(Client(tmp_path / "three").store, once(archive(name)))
        third = Client(tmp_path / "three")
        assert await third.push(name) == [digest]
        assert third.states.count("Layer already exists") == 2

    asyncio.run(main())


def test_what_was_loaded_before_it_was_pulled_goes_as_it_came(
    tmp_path: Path, registry: RegistryServer
) -> None:
    async def main() -> None:
        name, copy = f"{registry.host}/original:1", f"{registry.host}/copy:1"
        first = Client(tmp_path / "one")
        await load_images(first.store, once(archive(name)))
        [digest] = await first.push(name)
        client = Client(tmp_path / "two")
        await load_images(client.store, once(archive(copy)))
        await client.pull(name)
        assert await client.push(copy) == [digest]
        # And loading it again does not undo that.
        await load_images(client.store, once(archive(copy)))
        assert await client.push(copy) == [digest]
        assert "Pushed" not in client.states[-8:]

    asyncio.run(main())


def test_an_upload_goes_on_where_it_broke_off(tmp_path: Path, registry: RegistryServer) -> None:
    async def main(proxy: FaultProxy) -> None:
        name = f"{proxy.host}/resumed:1"
        client = Client(tmp_path)
        await load_images(client.store, once(archive(name, LAYERS[:1])))
        [digest] = await client.push(name)
        sent = [int(one.headers["content-length"]) for one in proxy.requests("PATCH ")]
        again = [one.headers.get("content-range", "") for one in proxy.requests("PATCH ")]
        assert any(one and not one.startswith("0-") for one in again)
        assert sum(sent) < 2 * 3_010_000
        where = f"docker://{registry.host}/resumed:1"
        assert (
            skopeo("inspect", "--tls-verify=false", "--format={{.Digest}}", where).strip() == digest
        )
        found = await Client(tmp_path / "other").pull(f"{registry.host}/resumed:1")
        assert found.entry.diff_ids == (digest_of(LAYERS[0]),)

    with FaultProxy(registry.host, Fault("PATCH ", cut_after=1_500_000)) as proxy:
        asyncio.run(main(proxy))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST .*/uploads/", status=503, times=2),
        Fault("PUT .*/uploads/", status=502, times=2),
        Fault("HEAD .*/blobs/", status=500),
    ],
    ids=["begin", "end", "look"],
)
def test_a_busy_registry_is_asked_again(
    tmp_path: Path, registry: RegistryServer, fault: Fault, request: pytest.FixtureRequest
) -> None:
    async def main(proxy: FaultProxy) -> None:
        name = f"{proxy.host}/busy-{len(request.node.name)}:1"
        client = Client(tmp_path)
        await load_images(client.store, once(archive(name)))
        await client.push(name)

    with FaultProxy(registry.host, fault) as proxy:
        asyncio.run(main(proxy))


def test_a_failed_push_names_nothing(tmp_path: Path, registry: RegistryServer) -> None:
    async def main(proxy: FaultProxy) -> None:
        name = f"{proxy.host}/refused:1"
        client = Client(tmp_path)
        [(entry, _)] = await load_images(client.store, once(archive(name)))
        with pytest.raises(SampanError, match="denied"):
            await client.push(name)
        assert entry.digests == []
        with pytest.raises(NotFoundError):
            await client.pull(f"{registry.host}/refused:1")

    said = json.dumps({"errors": [{"code": "DENIED", "message": "not here"}]}).encode()
    with FaultProxy(registry.host, Fault("PUT .*/manifests/", status=403, body=said)) as proxy:
        asyncio.run(main(proxy))


def test_what_an_archive_holds_after_a_push(tmp_path: Path, registry: RegistryServer) -> None:
    """The compressed layers take the place of the plain ones, here too."""

    async def main() -> None:
        name = f"{registry.host}/saved:1"
        client = Client(tmp_path)
        [(entry, _)] = await load_images(client.store, once(archive(name)))
        before = entry.blobs
        [digest] = await client.push(name)
        async with client.store.changing():
            await client.store.collect()
        assert not set(before) & client.store.content.digests()
        data = b"".join([piece async for piece in save_images(client.store, [name])])
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert f"blobs/sha256/{digest[7:]}" in tar.getnames()
        other = Client(tmp_path / "other")
        [(loaded, _)] = await load_images(other.store, once(data))
        assert loaded.id == entry.id

    asyncio.run(main())
