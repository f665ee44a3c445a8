"""Pulls, loads, removals and prunes at once, and a full disk: every image stays whole."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.client import Client
from tests.images.registry_images import Registry, layer
from tests.images.test_store import once
from tests.real import require_root
from tests.registry_server import RegistryServer

from sampan.base.errors import LimitError, NotFoundError
from sampan.images.core.image import chain_ids
from sampan.images.shell.exchange import load_images, save_images
from sampan.images.shell.removal import prune_images, remove_image

pytestmark = [pytest.mark.real]

NAMES = ("a", "b", "c", "d")


async def check_whole(client: Client) -> None:
    """Every blob and every layer that an image needs is there, and nothing else."""
    needed: set[str] = set()
    for entry in client.store.index.entries():
        needed.update(entry.kept())
        for chain in chain_ids(entry.diff_ids):
            assert client.store.snapshots.layer_path(chain).is_dir()
    assert needed <= client.store.content.digests()
    async with client.store.changing():
        await client.store.collect()
    assert client.store.content.digests() == needed


@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(
    tmp_path: Path, registry: RegistryServer, images: Registry, seed: int
) -> None:
    shared = [layer("shared", 50_000), layer("also shared", 20_000)]
    for at, name in enumerate(NAMES):
        images.put_image(f"collect/{name}:1", [*shared[: at % 3], layer(name, 30_000)])
    dice = random.Random(seed)

    async def one(client: Client, archive: bytes) -> None:
        name = f"{registry.host}/collect/{dice.choice(NAMES)}:1"
        match dice.randrange(5):
            case 0 | 1:
                await client.pull(name)
            case 2:
                try:
                    await remove_image(client.store, name, lambda _: [], force=True)
                except NotFoundError:
                    pass
            case 3:
                await prune_images(client.store, lambda _: True, lambda _: [])
            case 4:
                await load_images(client.store, once(archive))

    async def cancelled(work: asyncio.Task[None]) -> None:
        for _ in range(dice.randrange(400)):
            await asyncio.sleep(0)
        work.cancel()

    async def main() -> None:
        client = Client(tmp_path)
        name = f"{registry.host}/collect/a:1"
        await client.pull(name)
        archive = b"".join([piece async for piece in save_images(client.store, [name])])
        for _ in range(6):
            works = [asyncio.create_task(one(client, archive)) for _ in range(8)]
            enders = [cancelled(dice.choice(works)) for _ in range(2)]
            ended = await asyncio.gather(*works, *enders, return_exceptions=True)
            for wrong in (one for one in ended if isinstance(one, Exception)):
                raise wrong
            await check_whole(client)

    asyncio.run(main())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    require_root()
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.root
def test_a_full_disk(small_disk: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        images.put_image("large:1", [layer("large", 6_000_000)])
        images.put_image("fits-packed:1", [layer("fits", 2_500_000)])
        client = Client(small_disk)
        for name in ("large", "fits-packed"):
            with pytest.raises(LimitError, match=r"(?i)no space left on device"):
                await client.pull(f"{registry.host}/{name}:1")
            assert client.store.index.entries() == []
            async with client.store.changing():
                await client.store.collect()
            assert client.store.content.digests() == set()
            assert client.partial() == []

    asyncio.run(main())
