"""Archives of images: others read ours, we read theirs, and what is hostile is refused."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tests.images.test_store import archive, once, tar_of
from tests.real import require

from sampan.base.errors import InvalidError, LimitError, NotFoundError
from sampan.images.core.digest import digest_of
from sampan.images.core.platform import Platform
from sampan.images.shell import archive_files
from sampan.images.shell.archives import read_archive
from sampan.images.shell.content import ContentStore
from sampan.images.shell.exchange import load_images, save_images
from sampan.images.shell.store import ImageStore

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def skopeo(*words: str) -> str:
    done = subprocess.run(
        [str(require("skopeo")), "--insecure-policy", *words], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def saved(store: ImageStore, *names: str) -> bytes:
    return b"".join([piece async for piece in save_images(store, names)])


def test_ours_is_read_by_others(tmp_path: Path) -> None:
    async def main() -> tuple[bytes, str]:
        store = ImageStore(tmp_path / "state")
        [(entry, _)] = await load_images(store, once(archive("a.org/b:1")))
        return await saved(store, "a.org/b:1"), entry.id

    data, id_ = asyncio.run(main())
    path = tmp_path / "saved.tar"
    path.write_bytes(data)
    for source in (f"docker-archive:{path}:a.org/b:1", f"oci-archive:{path}:1"):
        assert digest_of(skopeo("inspect", "--config", "--raw", source).encode()) == id_
        target = tmp_path / source.partition(":")[0]
        skopeo("copy", "-q", source, f"dir:{target}")
        assert json.loads((target / "manifest.json").read_text())["layers"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_theirs_is_read_by_us(tmp_path: Path, compress: Any) -> None:
    first = tmp_path / "first.tar"
    first.write_bytes(archive("a.org/b:1"))
    made = {
        "docker.tar": f"docker-archive:{tmp_path}/docker.tar:a.org/b:2",
        "oci.tar": f"oci-archive:{tmp_path}/oci.tar:a.org/b:2",
    }
    for name, target in made.items():
        skopeo("copy", "-q", f"docker-archive:{first}", target)
        data = compress((tmp_path / name).read_bytes())
        place = tmp_path / f"{name}-state"

        async def main(place: Path = place, data: bytes = data) -> None:
            store = ImageStore(place)
            [(entry, names)] = await load_images(store, once(data))
            assert names == ("a.org/b:2",)
            path = store.snapshots.layer_path(entry.chains()[-1])
            assert (path / "file").read_bytes() == b"data"

        asyncio.run(main())


def test_the_same_images_make_the_same_archive(tmp_path: Path) -> None:
    async def main() -> None:
        store = ImageStore(tmp_path / "one")
        await load_images(store, once(archive("a:1", "a:2")))
        data = await saved(store, "a:1", "a:2")
        assert await saved(store, "a:1", "a:2") == data
        other = ImageStore(tmp_path / "other")
        await load_images(other, once(data))
        assert await saved(other, "a:1", "a:2") == data

    asyncio.run(main())


class Layout:
    """An OCI layout under construction."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def add(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = digest_of(data)
        self.files[f"blobs/sha256/{digest[7:]}"] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def image(self, machine: str) -> dict[str, Any]:
        layer = tar_of({"machine": machine.encode()})
        config = {
            "architecture": machine,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "config": self.add(
                json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"
            ),
            "layers": [self.add(layer, "application/vnd.oci.image.layer.v1.tar")],
        }
        return self.add(
            json.dumps(manifest).encode(),
            "application/vnd.oci.image.manifest.v1+json",
            platform={"os": "linux", "architecture": machine},
        )

    def index(self, *manifests: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        document = {"schemaVersion": 2, "manifests": manifests}
        media_type = "application/vnd.oci.image.index.v1+json"
        return self.add(json.dumps(document).encode(), media_type, **more)

    def tar(self, *manifests: Mapping[str, Any]) -> io.BytesIO:
        document = {"schemaVersion": 2, "manifests": manifests}
        return io.BytesIO(tar_of({**self.files, "index.json": json.dumps(document).encode()}))


def platforms(layout: Layout) -> dict[str, Any]:
    notes = {"io.containerd.image.name": "docker.io/library/many:1"}
    images = (layout.image("arm64"), layout.image("amd64"))
    about = layout.add(b"{}", "application/vnd.oci.image.manifest.v1+json")
    about["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    return layout.index(*images, about, annotations=notes)


@pytest.mark.parametrize(
    ("machine", "wanted", "expected"),
    [
        (AMD64, None, "amd64"),
        (ARM64, None, "arm64"),
        (AMD64, ARM64, "arm64"),
        (Platform("linux", "s390x"), None, "arm64"),
    ],
)
def test_one_of_several_platforms(
    tmp_path: Path, machine: Platform, wanted: Platform | None, expected: str
) -> None:
    layout = Layout()
    index = platforms(layout)
    content = ContentStore(tmp_path)
    asked = [wanted] if wanted else []
    found, *others = read_archive(layout.tar(index), content, machine, asked)
    assert len(others) == (0 if wanted else 1) and all(one.names == () for one in others)
    assert found.image.document["architecture"] == expected
    assert (found.names, found.index) == (("docker.io/library/many:1",), index["digest"])
    assert found.manifest is not None and content.has(found.manifest.digest)
    with pytest.raises(NotFoundError, match="linux/s390x"):
        read_archive(layout.tar(index), content, machine, [Platform("linux", "s390x")])


def test_what_no_document_names_does_not_stay(tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image("amd64")
    layout.files["junk"] = b"junk"
    layout.add(b"unused", "application/octet-stream")
    content = ContentStore(tmp_path)
    read_archive(layout.tar(image), content)
    assert len(content.digests()) == 3


def test_an_index_that_names_itself_through_others(tmp_path: Path) -> None:
    layout = Layout()
    inner = layout.image("amd64")
    for _ in range(8):
        inner = layout.index(inner)
    with pytest.raises(LimitError, match="nested"):
        read_archive(layout.tar(inner), ContentStore(tmp_path))


def test_a_blob_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image("amd64")
    [name] = [one for one, data in layout.files.items() if b"diff_ids" in data]
    layout.files[name] += b" "
    with pytest.raises(InvalidError, match="digest mismatch"):
        read_archive(layout.tar(image), ContentStore(tmp_path))


def test_two_files_of_one_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("manifest.json", b"[]"), ("./manifest.json", b"[1]")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    with pytest.raises(InvalidError, match="two different files"):
        read_archive(buffer, ContentStore(tmp_path))


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_files, "_ENTRIES", 10)
    with pytest.raises(LimitError, match="more than 10 entries"):
        read_archive(io.BytesIO(tar_of({f"f{n}": b"" for n in range(20)})), ContentStore(tmp_path))
    member = tarfile.TarInfo("zeros")
    member.size = 300 << 20
    bomb = zstandard.compress(member.tobuf() + bytes(member.size))
    content = ContentStore(tmp_path)
    with pytest.raises(LimitError, match="times its size"):
        read_archive(io.BytesIO(bomb), content)
    assert content.digests() == set()


def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async def torn() -> AsyncIterator[bytes]:
        yield archive("a:1")[:-3000]
        raise ConnectionResetError

    async def main() -> None:
        store = ImageStore(tmp_path)
        with pytest.raises((ConnectionResetError, InvalidError)):
            await load_images(store, torn())
        assert store.content.digests() == set()
        assert store.index.entries() == []

    asyncio.run(main())
