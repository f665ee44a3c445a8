"""Layers: what comes out is what went in, and nothing hostile gets out of its directory."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from tests.real import require_root

from sampan.base.errors import InvalidError, LimitError
from sampan.images.shell.layers import Form, LayerError, LayerLimits, apply_layer, unpack_layer
from sampan.images.shell.pack import write_layer

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
    "through a deep link": (
        ("a/b/l", kind(tarfile.SYMTYPE, "../../../.."), b""),
        ("a/b/l/etc/out", plain, b"x"),
    ),
    "through a link to a link": (
        ("one", kind(tarfile.SYMTYPE, "two"), b""),
        ("two", kind(tarfile.SYMTYPE, ".."), b""),
        ("one/out", plain, b"x"),
    ),
    "through a link to itself": (("l", kind(tarfile.SYMTYPE, "l"), b""), ("l/x", plain, b"")),
    "a directory exchanged for a link": (
        ("d", kind(tarfile.DIRTYPE), b""),
        ("d/kept", plain, b"x"),
        ("d", kind(tarfile.SYMTYPE, "../.."), b""),
        ("d/out", plain, b"x"),
    ),
    "a file as a directory": (("f", plain, b"x"), ("f/below", plain, b"x")),
    "hard link to a whiteout": ((".wh.f", plain, b""), ("h", kind(tarfile.LNKTYPE, "f"), b"")),
    "hard link to a directory": (
        ("d", kind(tarfile.DIRTYPE), b""),
        ("h", kind(tarfile.LNKTYPE, "d"), b""),
    ),
    "hard link to itself": (("h", plain, b""), ("h", kind(tarfile.LNKTYPE, "h"), b"")),
    "whiteout of a link's target": (
        ("l", kind(tarfile.SYMTYPE, ".."), b""),
        ("l/.wh.secret", plain, b""),
    ),
    "opaque through a link": (
        ("l", kind(tarfile.SYMTYPE, ".."), b""),
        ("l/.wh..wh..opq", plain, b""),
    ),
    "below a whiteout": ((".wh.d/x", plain, b""),),
    "a root that is a file": ((".", plain, b"x"),),
    "a link to nothing": (("l", kind(tarfile.SYMTYPE, ""), b""),),
    "a name with a line of its own": (("../\n/etc/passwd", plain, b"x"),),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layers_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("kept")
    with pytest.raises(LayerError):
        unpack(archive(*HOSTILE[name]), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["fs", "layer", "secret"]
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layers_leave_what_was_below(tmp_path: Path, name: str, merged: bool) -> None:
    """Also in a directory where the layers below have planted links."""
    (tmp_path / "secret").write_text("kept")
    target = tmp_path / "fs"
    target.mkdir()
    if merged:
        for link in ("l", "d", "a"):
            (target / link).symlink_to("..")
    (tmp_path / "layer").write_bytes(archive(*HOSTILE[name]))
    with open(tmp_path / "layer", "rb") as file, pytest.raises(LayerError):
        unpack_layer(file, target, Form(merged=merged))
    assert sorted(os.listdir(tmp_path)) == ["fs", "layer", "secret"]
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize(
    "key", ["trusted.overlay.opaque", "trusted.overlay.metacopy", "user.overlay.redirect"]
)
@pytest.mark.parametrize("type_", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_no_kind_of_entry_talks_to_overlayfs(tmp_path: Path, key: str, type_: bytes) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = type_, "x"
        member.pax_headers = {f"SCHILY.xattr.{key}": "y"}

    with pytest.raises(LayerError, match="overlayfs's own"):
        unpack(archive(("e", change, b"")), tmp_path)


def test_a_sparse_file_beyond_bounds(tmp_path: Path) -> None:
    def change(member: tarfile.TarInfo) -> None:
        size = str(1 << 62)
        member.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": size}

    with pytest.raises(LimitError, match="larger than"):
        unpack(archive(("huge", change, b"x")), tmp_path)


def test_numbers_out_of_range(tmp_path: Path) -> None:
    for number, uid in enumerate((1 << 32, (1 << 32) - 1, 1 << 63)):
        layer = archive(("f", kind(tarfile.REGTYPE, uid=uid), b""))
        with pytest.raises(LayerError, match="out of range"):
            unpack(layer, mkdir(tmp_path / str(number)))
    unpack(archive(("f", kind(tarfile.REGTYPE, mtime=1 << 62), b"")), tmp_path)


@pytest.mark.root
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    require_root()
    state = mkdir(tmp_path / "state")
    script = (
        "from pathlib import Path; import os\n"
        "from sampan.base.errors import LimitError\n"
        "from sampan.images.shell.content import ContentStore\n"
        "from sampan.images.shell.snapshots import Snapshots\n"
        "root = Path(os.environ['STATE'])\n"
        "content, snapshots = ContentStore(root), Snapshots(root)\n"
        "blob = content.put(Path(os.environ['LAYER']).read_bytes())\n"
        "try:\n    snapshots.ensure([blob], [blob], content)\n"
        "except LimitError as error:\n    print(error, os.listdir(root / 'layers'))\n"
    )
    layer = tmp_path / "layer"
    layer.write_bytes(archive(*((f"f{n}", plain, os.urandom(300_000)) for n in range(10))))
    command = f"mount -t tmpfs -o size=5m none {state}; exec '{sys.executable}' -c \"$CODE\""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", command],
        env={**os.environ, "CODE": script, "STATE": str(state), "LAYER": str(layer)},
        capture_output=True,
        check=False,
    )
    assert b"No space left on device []" in done.stdout, done.stderr.decode()


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


def made(layer: bytes, place: Path, form: Form | None = None) -> Path:
    """The directory of a layer unpacked over what may be there."""
    target = place / "fs"
    target.mkdir(exist_ok=True)
    (place / "layer").write_bytes(layer)
    with open(place / "layer", "rb") as file:
        unpack_layer(file, target, form or Form())
    return target


@pytest.mark.parametrize("cut", [1, 300, 512, 700, 1200, 2000])
def test_a_layer_cut_short(tmp_path: Path, cut: int) -> None:
    data = archive(("a", plain, b"x" * 1000), ("b", plain, b"y" * 300))
    body = data[: 512 + 1024 + 512 + 512]
    with pytest.raises(LayerError):
        unpack(body[:-cut] if cut % 512 else body[: 512 + cut % 1024], tmp_path)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_data_behind_the_end(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    data = archive(("a", plain, b"x"))
    with pytest.raises(LayerError, match="behind the end"):
        unpack(compress(data + b"hidden".ljust(512)), tmp_path)


def test_compressed_parts_one_after_the_other(tmp_path: Path) -> None:
    data = archive(("a", plain, os.urandom(3 << 20)), ("b", plain, b"y"))
    zstd = zstandard.ZstdCompressor()
    skipped = b"\x50\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skipped"
    for number, blob in enumerate(
        (
            gzip.compress(data[:5000]) + gzip.compress(data[5000:]),
            zstd.compress(data[:5000]) + skipped + zstd.compress(data[5000:]),
            skipped + zstd.compress(data),
            bz2.compress(data),
            lzma.compress(data[:5000]) + lzma.compress(data[5000:]),
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        assert unpack(blob, place) == "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_blob_is_verified_in_the_same_pass(tmp_path: Path) -> None:
    data = archive(("a", plain, b"hello"))
    blobs = (data, gzip.compress(data), zstandard.compress(data))
    for number, blob in enumerate(blobs):
        (tmp_path / "layer").write_bytes(blob)
        target = mkdir(tmp_path / str(number))
        with open(tmp_path / "layer", "rb") as file:
            found = unpack_layer(file, target, Form())
        assert found.blob == "sha256:" + hashlib.sha256(blob).hexdigest()
        assert (found.size_bytes, found.entries) == (5, 1)


def test_a_link_of_the_layer_is_gone_through_when_it_stays_inside(tmp_path: Path) -> None:
    folder = kind(tarfile.DIRTYPE)
    layer = archive(
        ("usr/lib", folder, b""),
        ("lib", kind(tarfile.SYMTYPE, "usr/lib"), b""),
        ("lib/x", plain, b"1"),
        ("hard", kind(tarfile.LNKTYPE, "lib/x"), b""),
    )
    target = made(layer, tmp_path)
    assert (target / "usr/lib/x").read_bytes() == (target / "hard").read_bytes() == b"1"
    assert (target / "lib").is_symlink()


def test_later_entries_replace_earlier_ones(tmp_path: Path) -> None:
    folder = kind(tarfile.DIRTYPE)
    layer = archive(
        ("a/b/c", plain, b"12345"),
        ("a", kind(tarfile.SYMTYPE, "../.."), b""),
        ("d", plain, b"123"),
        ("d", folder, b""),
        ("d/e", plain, b"1"),
        ("d/e", plain, b"22"),
        ("f", plain, b"1"),
        ("f", kind(tarfile.LNKTYPE, "d/e"), b""),
    )
    target = tmp_path / "fs"
    target.mkdir()
    (tmp_path / "layer").write_bytes(layer)
    with open(tmp_path / "layer", "rb") as file:
        found = unpack_layer(file, target, Form(opaque="user.overlay.opaque"))
    assert os.readlink(target / "a") == "../.."
    assert (target / "f").read_bytes() == b"22"
    assert found.size_bytes == 2
    # What the file had hidden below does not come back with the directory.
    assert os.getxattr(target / "d", "user.overlay.opaque") == b"y"


def test_more_directories_than_descriptors(tmp_path: Path) -> None:
    def dated(member: tarfile.TarInfo) -> None:
        member.type, member.mtime = tarfile.DIRTYPE, 1_000_000_000

    folders: list[Entry] = [(f"d{n % 7}/{n}", dated, b"") for n in range(1500)]
    files: list[Entry] = [(f"d{n % 7}/{n}/file", plain, b"x") for n in range(1500)]
    target = made(archive(*folders, *files), tmp_path)
    assert len(list(target.glob("*/*/file"))) == 1500
    assert {int(path.stat().st_mtime) for path in target.glob("*/*")} == {1_000_000_000}
    assert len(os.listdir("/proc/self/fd")) < 100


def test_bounds_of_paths(tmp_path: Path) -> None:
    for number, name in enumerate(("d/" * 400 + "f", "n" * 5000, "n" * 300)):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises((LimitError, LayerError)):
            unpack(archive((name, plain, b"")), place)


@pytest.mark.root
def test_whiteouts_spare_what_the_layer_has_itself(tmp_path: Path) -> None:
    require_root()
    folder = kind(tarfile.DIRTYPE)
    layers = {
        "before": (("d/.wh..wh..opq", plain, b""), (".wh.e", plain, b""), (".wh.f", plain, b"")),
        "after": (),
    }
    for order, first in layers.items():
        own: tuple[Entry, ...] = (
            ("d/new", plain, b"1"),
            ("e", folder, b""),
            ("e/new", plain, b"1"),
            ("f", plain, b"mine"),
        )
        layer = archive(*first, *own, *(layers["before"] if order == "after" else ()))
        over = made(layer, mkdir(tmp_path / order / "overlay"))
        assert os.getxattr(over / "d", "trusted.overlay.opaque") == b"y"
        assert os.getxattr(over / "e", "trusted.overlay.opaque") == b"y"
        assert (over / "f").read_bytes() == b"mine"
        place = tmp_path / order / "merged"
        for name in ("d/old/deep", "e/old", "f", "kept"):
            path = place / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"below")
        merged = made(layer, place, Form(merged=True))
        assert sorted(str(one.relative_to(merged)) for one in merged.rglob("*")) == [
            "d", "d/new", "e", "e/new", "f", "kept",
        ]  # fmt: skip
        assert (merged / "f").read_bytes() == b"mine"


def mkdir(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_a_directory_that_no_entry_names_is_like_the_one_below(tmp_path: Path) -> None:
    below = mkdir(tmp_path / "below")
    (below / "tmp").mkdir()
    (below / "tmp").chmod(0o1777)
    os.symlink("/etc", below / "out")
    layer = archive(("tmp/x", plain, b""), ("out/x", plain, b""))
    target = made(layer, tmp_path, Form(lower=(below,)))
    assert (target / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (target / "out").stat().st_mode & 0o7777 == 0o755


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
