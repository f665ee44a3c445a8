"""Tar headers: what other programs write is read, and what we write other programs read."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.real import require

from sampan.base.errors import LimitError
from sampan.images.core.tar import Entry, Kind, TarError, header, padding, pax_records
from sampan.images.core.tarreader import TarReader


class Bytes:
    """A source out of memory that hands out small pieces."""

    def __init__(self, data: bytes, piece: int = 1000) -> None:
        self._file = io.BytesIO(data)
        self._piece = piece

    def take(self, size: int) -> memoryview:
        return memoryview(self._file.read(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        while size and (data := self._file.read(min(size, self._piece))):
            size -= len(data)
            yield memoryview(data)


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarReader(Bytes(data))
    found = []
    while (entry := reader.next()) is not None:
        found.append((entry, b"".join(bytes(piece) for piece in reader.data())))
    return found


def tree(place: Path) -> Path:
    root = place / "tree"
    deep = root / "/".join(["a-rather-long-directory-name"] * 5)
    deep.mkdir(parents=True)
    (root / "short").write_bytes(b"x" * 700)
    (deep / "file").write_bytes(b"y")
    (root / ("n" * 180)).write_bytes(b"z")
    (root / "grüße").symlink_to("t" * 150)
    os.link(root / "short", root / "twin")
    os.mkfifo(root / "pipe")
    os.utime(root / "short", ns=(1, 1_234_567_890_123_456_789))
    return root


@pytest.mark.parametrize("form", ["gnu", "pax", "posix", "oldgnu", "ustar"])
def test_the_forms_of_gnu_tar_are_read(tmp_path: Path, form: str) -> None:
    root = tree(tmp_path)
    words = [str(require("tar")), "--sort=name", f"--format={form}", "-cf", "-", "."]
    done = subprocess.run(words, cwd=root, capture_output=True, check=form != "ustar")
    found = {one[0].name.removeprefix("./").rstrip("/"): one for one in read(done.stdout)}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        expected = {one.name.removeprefix("./").removeprefix("."): one for one in tar}
    assert set(found) == set(expected)
    for name, (entry, _) in found.items():
        theirs = expected[name]
        assert (entry.mode, entry.uid, entry.gid) == (theirs.mode, theirs.uid, theirs.gid)
        assert (entry.kind.value, entry.link) == (theirs.type, theirs.linkname), name
        assert entry.size == theirs.size
    assert found["short"][1] == b"x" * 700
    if form in ("pax", "posix"):
        assert found["short"][0].mtime_ns == 1_234_567_890_123_456_789


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu",),
        *(("--format=pax", f"--sparse-version={one}") for one in ("0.0", "0.1", "1.0")),
    ],
    ids=" ".join,
)
def test_sparse_files_have_a_map(tmp_path: Path, options: tuple[str, ...]) -> None:
    with open(tmp_path / "holes", "wb") as file:
        for number in range(40):
            file.seek(number * (1 << 20))
            file.write(b"%06d" % number * 100)
        file.truncate(50 << 20)
    words = [str(require("tar")), "--sparse", *options, "-cf", "-", "holes"]
    data = subprocess.run(words, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout
    [(entry, content)] = read(data)
    assert (entry.name, entry.full_size) == ("holes", 50 << 20)
    assert entry.extents is not None and len(content) == entry.size < 1 << 20
    whole, at = bytearray(entry.full_size), 0
    for offset, length in entry.extents:
        whole[offset : offset + length] = content[at : at + length]
        at += length
    assert bytes(whole) == (tmp_path / "holes").read_bytes()


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300
).map(lambda text: text.strip("/") or "x")


@given(
    name=names,
    link=names,
    kind=st.sampled_from(Kind),
    mode=st.integers(0, 0o7777),
    ids=st.tuples(st.integers(0, (1 << 32) - 2), st.integers(0, (1 << 32) - 2)),
    mtime_ns=st.integers(-(10**18), 10**20),
    value=st.binary(max_size=100),
)
def test_what_is_written_comes_back(
    name: str, link: str, kind: Kind, mode: int, ids: tuple[int, int], mtime_ns: int, value: bytes
) -> None:
    entry = Entry(name, kind, mode, *ids, mtime_ns=mtime_ns)
    if kind in (Kind.SYMLINK, Kind.HARD_LINK):
        entry.link = link
    if value:
        entry.xattrs = {"user.note": value}
    if kind is Kind.FILE:
        entry.size = entry.full_size = len(value)
    data = header(entry) + (value + bytes(padding(len(value))) if kind is Kind.FILE else b"")
    assert len(data) % 512 == 0
    [(found, content)] = read(data + bytes(1024))
    found.name = found.name.removesuffix("/") if kind is Kind.DIRECTORY else found.name
    assert found == entry
    assert content == (value if kind is Kind.FILE else b"")
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024))) as tar:
        [theirs] = tar.getmembers()
        assert theirs.name == name.rstrip("/") and (theirs.uid, theirs.gid) == ids


@given(st.binary(max_size=2000), st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_damage_is_an_error_and_nothing_else(junk: bytes, at: int, patch: bytes) -> None:
    entry = Entry("name" * 60, xattrs={"user.a": b"b"}, size=300, full_size=300)
    sound = header(entry) + bytes(512) + header(Entry("second")) + bytes(1024)
    for data in (junk, sound[:at], sound[:at] + patch + sound[at + len(patch) :]):
        try:
            read(data)
        except (TarError, LimitError):
            pass


def test_a_name_cut_short_at_a_slash_is_no_directory() -> None:
    name = "d" * 99 + "/" + "f" * 20
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=form) as tar:
            member = tarfile.TarInfo(name + "é")
            member.size = 5
            tar.addfile(member, io.BytesIO(b"bytes"))
        [(entry, data)] = read(buffer.getvalue())
        assert (entry.kind, data) == (Kind.FILE, b"bytes")


def test_an_extended_header_is_bounded() -> None:
    huge = Entry("x", size=2 << 20)
    block = header(huge)
    lying = block[:156] + b"x" + block[157:]
    total = sum(lying) - sum(lying[148:156]) + 8 * 32
    lying = lying[:148] + b"%06o\0 " % total + lying[156:]
    with pytest.raises(LimitError):
        read(lying + bytes(3 << 20))


def test_a_global_header_sets_no_path() -> None:
    with tarfile.open(
        fileobj=(buffer := io.BytesIO()), mode="w", pax_headers={"path": "/etc/passwd"}
    ) as tar:
        tar.addfile(tarfile.TarInfo("harmless"))
    with pytest.raises(TarError, match="global"):
        read(buffer.getvalue())


@pytest.mark.parametrize("data", [b"5 a=", b"9 ab=c\n", b"x ab=c\n", b"6 abc\n", b"99999 a=b\n"])
def test_malformed_records(data: bytes) -> None:
    with pytest.raises(TarError):
        pax_records(data)
