"""Layers: what comes out is what went in, and nothing hostile gets out of its directory."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from tests.real import require_root

from sampan.base.errors import InvalidError, LimitError
from sampan.images.shell.layers import LayerError, LayerLimits, apply_layer, write_layer

Entry = tuple[str, Callable[[tarfile.TarInfo], None], bytes]


def plain(_: tarfile.TarInfo) -> None:
    """A regular file."""


def kind(type_: bytes, link: str = "", **more: int) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = type_, link
        for name, value in more.items():
            setattr(member, name, value)

    return change


def archive(*entries: Entry) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, change, data in entries:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            member.uid, member.gid = os.geteuid(), os.getegid()
            change(member)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def unpack(data: bytes, place: Path, limits: LayerLimits | None = None) -> str:
    path = place / "layer"
    path.write_bytes(data)
    target = place / "fs"
    target.mkdir()
    with open(path, "rb") as file:
        return apply_layer(file, target, limits)


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "zstd"],
)
def test_the_diff_id_is_of_the_plain_tar(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    data = archive(("a/b", plain, b"hello"), ("link", kind(tarfile.SYMTYPE, "a/b"), b""))
    assert unpack(compress(data), tmp_path) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (tmp_path / "fs/a/b").read_bytes() == b"hello"
    assert os.readlink(tmp_path / "fs/link") == "a/b"


HOSTILE: dict[str, tuple[Entry, ...]] = {
    "parent": (("../out", plain, b"x"),),
    "parent within": (("a/../../out", plain, b"x"),),
    "through a link": (("l", kind(tarfile.SYMTYPE, ".."), b""), ("l/out", plain, b"x")),
    "through an absolute link": (("l", kind(tarfile.SYMTYPE, "/tmp"), b""), ("l/out", plain, b"")),
    "hard link to the parent": (("h", kind(tarfile.LNKTYPE, "../secret"), b""),),
    "hard link through a link": (
        ("l", kind(tarfile.SYMTYPE, ".."), b""),
        ("h", kind(tarfile.LNKTYPE, "l/secret"), b""),
    ),
    "hard link to nothing": (("h", kind(tarfile.LNKTYPE, "missing"), b""),),
    "hard link to the root": (("h", kind(tarfile.LNKTYPE, "."), b""),),
    "whiteout of nothing": (("a/.wh.", plain, b""),),
    "whiteout of the parent": (("a/.wh...", plain, b""),),
    "unknown kind": (("odd", kind(b"Z"), b""),),
    "a whiteout device": (("d", kind(tarfile.CHRTYPE, devmajor=0, devminor=0), b""),),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layers_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("kept")
    with pytest.raises(LayerError):
        unpack(archive(*HOSTILE[name]), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["fs", "layer", "secret"]
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    unpack(archive(("/etc/x", plain, b"1")), tmp_path)
    assert (tmp_path / "fs/etc/x").read_bytes() == b"1"


def test_overlay_attributes_are_not_a_layer_s_to_set(tmp_path: Path) -> None:
    def redirect(member: tarfile.TarInfo) -> None:
        member.pax_headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc"}

    with pytest.raises(LayerError, match="overlayfs's own"):
        unpack(archive(("d", redirect, b"")), tmp_path)


@pytest.mark.parametrize("data", [b"junk" * 200, b"\x1f\x8bjunk", b"\x28\xb5\x2f\xfdjunk"])
def test_what_is_no_tar(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidError):
        unpack(data, tmp_path)


def test_bombs(tmp_path: Path) -> None:
    data = gzip.compress(archive(("zeros", plain, bytes(4 << 20))))
    for number, limits in enumerate(
        (
            LayerLimits(size_bytes=1 << 20),
            LayerLimits(ratio=10, ratio_from_bytes=1 << 20),
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(LimitError):
            unpack(data, place, limits)
    many = archive(*((f"f{n}", plain, b"") for n in range(30)))
    with pytest.raises(LimitError, match="more than 10 entries"):
        unpack(many, tmp_path, LayerLimits(entries=10))


@pytest.mark.root
def test_a_tree_survives_a_round_trip(tmp_path: Path) -> None:
    require_root()
    source = tmp_path / "source"
    (source / "dir").mkdir(parents=True)
    (source / "dir/file").write_bytes(b"x" * 5000)
    os.chmod(source / "dir/file", 0o4751)
    os.chown(source / "dir/file", 12, 34)
    os.setxattr(source / "dir/file", "user.note", b"\xff\x00bytes")
    os.link(source / "dir/file", source / "second")
    os.symlink("../x", source / "dir/link")
    os.mkfifo(source / "pipe")
    os.mknod(source / "gone", stat.S_IFCHR, 0)
    os.utime(source / "dir/file", ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    os.utime(source / "dir", ns=(1_400_000_000_000_000_000, 1_400_000_000_000_000_000))
    buffer = io.BytesIO()
    write_layer(source, buffer)
    unpack(buffer.getvalue(), tmp_path)
    target = tmp_path / "fs"
    for name in ("dir", "dir/file", "dir/link", "pipe", "second"):
        before, after = os.lstat(source / name), os.lstat(target / name)
        for field in ("st_mode", "st_uid", "st_gid", "st_rdev", "st_mtime_ns"):
            assert getattr(before, field) == getattr(after, field), (name, field)
        assert stat.S_ISDIR(before.st_mode) or before.st_size == after.st_size
    gone = os.lstat(target / "gone")
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(target / "dir/file", "user.note") == b"\xff\x00bytes"
    assert os.lstat(target / "dir/file").st_ino == os.lstat(target / "second").st_ino
    assert (target / "dir").stat().st_mtime_ns == 1_400_000_000_000_000_000
