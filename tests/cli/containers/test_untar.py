"""What a container sends is unpacked where it was meant to go, whatever it says."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.cli.containers.untar import unpack
from sampan.engine.client.packing import Packed

Make = Callable[[tarfile.TarFile], None]


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o755
    data = b"evil" if kind == tarfile.REGTYPE else b""
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def unpacked(target: Path, make: Make, contents: bool = False) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        make(archive)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer, mode="r|") as archive:
        unpack(archive, str(target), contents, owners=False)


def test_a_tree_becomes_the_target(tmp_path: Path) -> None:
    def make(archive: tarfile.TarFile) -> None:
        add(archive, "root", tarfile.DIRTYPE)
        add(archive, "root/file")
        add(archive, "root/hard", tarfile.LNKTYPE, "root/file")
        add(archive, "root/soft", tarfile.SYMTYPE, "/etc/passwd")
        add(archive, "root/pipe", tarfile.FIFOTYPE)
        add(archive, "root/null", tarfile.CHRTYPE)

    unpacked(tmp_path / "named", make)
    found = tmp_path / "named"
    assert sorted(path.name for path in found.iterdir()) == ["file", "hard", "pipe", "soft"]
    assert (found / "file").stat().st_ino == (found / "hard").stat().st_ino
    assert os.readlink(found / "soft") == "/etc/passwd"
    (tmp_path / "there").mkdir()
    unpacked(tmp_path / "there", make, contents=True)
    assert (tmp_path / "there/file").read_text() == "evil"


def through_a_link(archive: tarfile.TarFile, outside: str) -> None:
    add(archive, "root", tarfile.DIRTYPE)
    add(archive, "root/way", tarfile.SYMTYPE, outside)
    add(archive, "root/way/file")


def over_a_link(archive: tarfile.TarFile, outside: str) -> None:
    add(archive, "root", tarfile.DIRTYPE)
    add(archive, "root/way", tarfile.SYMTYPE, outside)
    add(archive, "root/way", tarfile.DIRTYPE)
    add(archive, "root/way/file")


def upwards(archive: tarfile.TarFile, outside: str) -> None:
    add(archive, "root", tarfile.DIRTYPE)
    add(archive, "root/../../outside/file")


def another_root(archive: tarfile.TarFile, outside: str) -> None:
    add(archive, "root", tarfile.DIRTYPE)
    add(archive, f"{outside}/file")


def a_hard_link_out(archive: tarfile.TarFile, outside: str) -> None:
    add(archive, "root", tarfile.DIRTYPE)
    add(archive, "root/way", tarfile.SYMTYPE, outside)
    add(archive, "root/file", tarfile.LNKTYPE, "root/way/secret")


@pytest.mark.parametrize(
    "make", [through_a_link, over_a_link, upwards, another_root, a_hard_link_out]
)
def test_nothing_leads_out(tmp_path: Path, make: Callable[[tarfile.TarFile, str], None]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("kept")
    (tmp_path / "in").mkdir()
    with pytest.raises((SampanError, OSError)):
        unpacked(tmp_path / "in/named", lambda archive: make(archive, str(outside)))
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert not (tmp_path / "in/named/file").exists()


def test_a_tree_that_cannot_be_read_is_not_sent_as_if_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 9)
    packed = Packed(lambda archive: archive.add(tmp_path / "file", "file"))
    with tarfile.open(fileobj=io.BytesIO(b"".join(packed))) as archive:
        assert archive.getnames() == ["file"]
    gone = Packed(lambda archive: archive.add(tmp_path / "gone", "gone"))
    with pytest.raises(SampanError, match="gone: No such file"):
        list(gone)


def test_a_link_that_is_there_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").symlink_to(precious)
    unpacked(tmp_path / "in/file", lambda archive: add(archive, "file"))
    assert precious.read_text() == "kept"
    assert (tmp_path / "in/file").read_text() == "evil"
