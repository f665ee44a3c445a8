"""The image store: names and ids kept apart, archives while images go, malformed documents."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.real import require

from sampan.base.errors import InvalidError
from sampan.images.core.image import digest_of
from sampan.images.shell.archives import read_archive
from sampan.images.shell.content import ContentStore
from sampan.images.shell.exchange import load_images, save_images
from sampan.images.shell.removal import remove_image
from sampan.images.shell.store import ImageStore


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def archive(*names: str) -> bytes:
    layer = tar_of({"file": b"data"})
    config = {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
    manifest = [{"Config": "c.json", "RepoTags": list(names), "Layers": ["l.tar"]}]
    files = {"l.tar": layer, "c.json": json.dumps(config).encode()}
    return tar_of({**files, "manifest.json": json.dumps(manifest).encode()})


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_a_name_that_looks_like_an_id_is_a_name(tmp_path: Path) -> None:
    async def main() -> None:
        store = ImageStore(tmp_path)
        [(entry, _)] = await load_images(store, once(archive("keep:1")))
        first = entry.image.id.removeprefix("sha256:")[0]
        looks = first if first.isalpha() else f"{first}{first}"
        await store.tag("keep:1", looks, "latest")
        gone = await remove_image(store, looks, lambda _: [], force=True)
        assert gone == [{"Untagged": f"{looks}:latest"}]
        assert store.find("keep:1") is entry

    asyncio.run(main())


def test_an_archive_under_way_keeps_its_blobs(tmp_path: Path) -> None:
    async def main() -> None:
        store = ImageStore(tmp_path)
        await load_images(store, once(archive("a:1")))
        pieces = save_images(store, ["a:1"])
        begun = await anext(pieces)
        await remove_image(store, "a:1", lambda _: [], force=True)
        whole = begun + b"".join([piece async for piece in pieces])
        loaded = await load_images(store, once(whole))
        assert loaded[0][1] == ("docker.io/library/a:1",)

    asyncio.run(main())


@pytest.mark.parametrize(
    "files",
    [
        {"manifest.json": b"[{}]"},
        {"manifest.json": b"[1]"},
        {"manifest.json": b"{}"},
        {"manifest.json": b"["},
        {"manifest.json": b"[" * 100_000},
        {"index.json": b"[]"},
        {"index.json": b'{"manifests": [{}]}'},
        {"index.json": b'{"manifests": [{"digest": "sha256:../../x"}]}'},
        {"other": b""},
    ],
    ids=["empty", "number", "object", "torn", "deep", "list", "no digest", "odd digest", "neither"],
)
def test_malformed_archives_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(InvalidError):
        read_archive(io.BytesIO(tar_of(files)), ContentStore(tmp_path))


def test_the_store_is_an_image_layout_that_others_read(tmp_path: Path) -> None:
    skopeo = require("skopeo")

    async def main() -> str:
        store = ImageStore(tmp_path)
        [(entry, _)] = await load_images(store, once(archive("a.org/b:1", "a.org/b:2")))
        return entry.id

    id_ = asyncio.run(main())
    source = f"oci:{tmp_path}:a.org/b:2"
    done = subprocess.run([skopeo, "inspect", "--config", "--raw", source], capture_output=True)
    assert digest_of(done.stdout) == id_, done.stderr.decode()


def test_names_and_parents_outlive_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        store = ImageStore(tmp_path)
        [(entry, _)] = await load_images(store, once(archive("a:1")))
        await store.tag("a:1", "b", "2")
        again = ImageStore(tmp_path)
        found = again.find("b:2")
        assert (found.id, found.tags, found.blobs) == (entry.id, entry.tags, entry.blobs)
        assert found.diff_ids == entry.diff_ids

    asyncio.run(main())


def test_a_refused_archive_leaves_no_blobs(tmp_path: Path) -> None:
    async def main() -> None:
        store = ImageStore(tmp_path)
        await load_images(store, once(archive("a:1")))
        before = store.content.digests()
        with pytest.raises(InvalidError):
            await load_images(store, once(tar_of({"blob": b"x", "manifest.json": b"[{}]"})))
        assert store.content.digests() == before

    asyncio.run(main())
