"""Several platforms under one name: pulled, saved, loaded and removed together or one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.images.client import Client
from tests.images.registry_images import Registry
from tests.images.test_store import once
from tests.registry_server import RegistryServer

from sampan.base.errors import NotFoundError
from sampan.images.core.platform import Platform
from sampan.images.shell.exchange import load_images, save_images
from sampan.images.shell.removal import remove_image, remove_platforms

pytestmark = [pytest.mark.real]

THREE = [
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm", "variant": "v6"},
    {"os": "linux", "architecture": "arm", "variant": "v7"},
]
AMD, OLD, NEW = "linux/amd64", "linux/arm/v6", "linux/arm/v7"


async def pulled(place: Path, name: str, *platforms: str) -> Client:
    client = Client(place)
    for platform in platforms:
        await client.pull(name, platform)
    return client


async def saved(client: Client, name: str, platforms: Sequence[Platform] = ()) -> bytes:
    return b"".join([piece async for piece in save_images(client.store, [name], platforms)])


def machine(client: Client) -> Platform:
    return client.platform(AMD)


def test_all_of_them_come_back_from_an_archive(
    tmp_path: Path, registry: RegistryServer, images: Registry
) -> None:
    async def main() -> None:
        digest = images.put_index("three:1", THREE)
        name = f"{registry.host}/three:1"
        client = await pulled(tmp_path / "a", name, AMD, NEW)
        data = await saved(client, name)
        other = Client(tmp_path / "b")
        loaded = await load_images(other.store, once(data), machine(other))
        assert [names for _, names in loaded] == [(name,), ()]
        entry = other.store.find(name)
        assert entry.index == digest
        assert str(other.store.platform(entry)) == AMD
        assert str(other.store.platform(other.store.find(name, client.platform(NEW)))) == NEW
        with pytest.raises(NotFoundError, match="does not provide the specified platform"):
            other.store.find(name, client.platform(OLD))

    asyncio.run(main())


def test_one_of_them_goes_into_an_archive(
    tmp_path: Path, registry: RegistryServer, images: Registry
) -> None:
    async def main() -> None:
        images.put_index("three:2", THREE)
        name = f"{registry.host}/three:2"
        client = await pulled(tmp_path / "a", name, AMD, NEW)
        data = await saved(client, name, [client.platform(NEW)])
        other = Client(tmp_path / "b")
        [(entry, names)] = await load_images(other.store, once(data), machine(other))
        assert names == (name,)
        assert str(other.store.platform(entry)) == NEW

    asyncio.run(main())


def test_one_of_them_comes_out_of_an_archive(
    tmp_path: Path, registry: RegistryServer, images: Registry
) -> None:
    async def main() -> None:
        images.put_index("three:3", THREE)
        name = f"{registry.host}/three:3"
        client = await pulled(tmp_path / "a", name, AMD, NEW)
        data = await saved(client, name)
        other = Client(tmp_path / "b")
        wanted = [client.platform(NEW)]
        [(entry, names)] = await load_images(other.store, once(data), machine(other), wanted)
        assert (str(other.store.platform(entry)), names) == (NEW, (name,))
        with pytest.raises(NotFoundError, match="no image for the requested platform"):
            await load_images(other.store, once(data), None, [client.platform("linux/s390x")])

    asyncio.run(main())


def test_they_go_with_their_name(
    tmp_path: Path, registry: RegistryServer, images: Registry
) -> None:
    async def main() -> None:
        images.put_index("three:4", THREE)
        name = f"{registry.host}/three:4"
        client = await pulled(tmp_path, name, AMD, OLD, NEW)
        assert len(client.store.index) == 3
        gone = await remove_image(client.store, name, lambda _: [], force=False)
        assert len([one for one in gone if one.get("Deleted", "").startswith("sha256:")]) == 6
        assert len(client.store.index) == 0
        assert client.store.content.digests() == set()

    asyncio.run(main())


def test_all_of_them_are_pushed(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        digest = images.put_index("three:7", THREE, attested=False)
        name, copy = f"{registry.host}/three:7", f"{registry.host}/three-copy:7"
        client = await pulled(tmp_path / "a", name, AMD, NEW)
        await client.store.tag(name, f"{registry.host}/three-copy", "7")
        # One is missing: the one that the name stands for goes alone.
        new = client.store.find(name).manifest.digest
        assert await client.push(copy) == [new]
        await client.pull(name, OLD)
        await client.store.tag(name, f"{registry.host}/three-copy", "7")
        assert await client.push(copy) == [digest]
        other = await pulled(tmp_path / "b", copy, AMD, OLD, NEW)
        assert len(other.store.index) == 3

    asyncio.run(main())


def test_one_of_them_goes_alone(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        images.put_index("three:6", THREE)
        name = f"{registry.host}/three:6"
        client = await pulled(tmp_path, name, AMD, NEW)
        wanted = [client.platform(NEW)]
        await remove_platforms(client.store, name, wanted, lambda _: [], force=False)
        assert str(client.store.platform(client.store.find(name))) == AMD
        with pytest.raises(NotFoundError):
            await remove_platforms(client.store, name, wanted, lambda _: [], force=False)
        machines = [machine(client)]
        await remove_platforms(client.store, name, machines, lambda _: [], force=False)
        assert client.store.index.entries() == []

    asyncio.run(main())


def test_one_in_use_stays(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        images.put_index("three:5", THREE)
        name = f"{registry.host}/three:5"
        client = await pulled(tmp_path, name, AMD, NEW)
        used = client.store.find(name, client.platform(AMD))
        await remove_image(
            client.store, name, lambda id_: ["c"] if id_ == used.id else [], force=False
        )
        assert [entry.id for entry in client.store.index.entries()] == [used.id]
        await asyncio.to_thread(client.store.snapshots.layer_path(used.chains()[-1]).stat)

    asyncio.run(main())
