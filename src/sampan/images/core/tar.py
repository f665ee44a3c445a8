"""Tar headers as values, and back: one home for everything that reads or writes a tar.

Read: v7, ustar with its prefix, GNU (long names, base-256 numbers, sparse files of the old kind),
pax with global records, sparse files of versions 0.0, 0.1 and 1.0, attributes of SCHILY and of
libarchive. Written: ustar, with pax records for what does not fit. Source: POSIX.1-2017 "pax", and
the GNU tar manual, "Tar Internals".
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import unquote_to_bytes

from sampan.base.errors import InvalidError

__all__ = [
    "BLOCK_BYTES",
    "Entry",
    "Extent",
    "Kind",
    "TarError",
    "check_global",
    "checked",
    "extents_of",
    "header",
    "more_extents",
    "old_extents",
    "padding",
    "pax_records",
    "raw_entry",
    "with_records",
]

BLOCK_BYTES: Final = 512

Extent = tuple[int, int]
"""A stretch of a sparse file that has data: offset and length in bytes."""

_LAYOUT: Final = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12s")
_NANO: Final = 1_000_000_000
_SCHILY: Final = "SCHILY.xattr."
_LIBARCHIVE: Final = "LIBARCHIVE.xattr."
_ONCE_ONLY: Final = ("path", "linkpath", "size", "GNU.sparse.")
_OLD_EXTENTS_AT: Final = 386
_NO_ID: Final = (1 << 32) - 1  # what chown takes for "leave it as it is"
_MOST_NS: Final = (1 << 40) * _NANO
_ZERO_SUM: Final = 8 * 32


class TarError(InvalidError):
    """What should be a tar is none, or is damaged."""


class Kind(Enum):
    """What an entry is; the value is its type in the header."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_KINDS: Final = {
    **{kind.value: kind for kind in Kind},
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
}


@dataclass(slots=True)
class Entry:
    """One entry: everything but a file's bytes."""

    name: str
    kind: Kind = Kind.FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    """Bytes of data that follow the header."""

    mtime_ns: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    extents: list[Extent] | None = None
    """Where the data of a sparse file belongs, in order; None for one without holes."""

    full_size: int = 0
    """Bytes of the file with its holes."""


def padding(size: int) -> int:
    """Return how many zeros follow `size` bytes of data."""
    return -size % BLOCK_BYTES


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(raw: bytes) -> int:
    """Return a number field: octal text, or base 256 when the first bit is set."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big")
        bits = 8 * len(raw)
        # The second bit is the sign; the first one only marks the encoding.
        return value - (1 << bits) if raw[0] & 0x40 else value - (1 << (bits - 1))
    text = raw.partition(b"\0")[0].strip()
    if not text:
        return 0
    if not text.isdigit():
        raise TarError(f"a number in a tar header is none: {text[:12]!r}")
    try:
        return int(text, 8)
    except ValueError:
        raise TarError(f"a number in a tar header is not octal: {text[:12]!r}") from None


def _check_sum(block: bytes, stated: bytes) -> None:
    found = sum(block) - sum(stated) + _ZERO_SUM
    wanted = _number(stated)
    if found == wanted:
        return
    # Some old programs added up signed bytes.
    signed = found - 256 * sum(one > 127 for one in block) + 256 * sum(one > 127 for one in stated)
    if signed != wanted:
        raise TarError("a tar header has a wrong checksum")


def raw_entry(block: bytes) -> tuple[bytes, Entry]:
    """Return the type and the entry of one header block, extended headers not regarded.

    Raises TarError for what is no header.
    """
    (
        name, mode, uid, gid, size, mtime, stated, type_, link,
        magic, _, _, _, major, minor, prefix, tail,
    ) = _LAYOUT.unpack(block)  # fmt: skip
    _check_sum(block, stated)
    path = _text(name)
    if magic == b"ustar\0" and prefix[0]:
        front = _text(prefix[:131] if tail[8:] == b"tar\0" else prefix)
        path = f"{front}/{path}" if front else path
    kind = _KINDS.get(type_, Kind.FILE)
    length = _number(size)
    entry = Entry(
        path, kind, _number(mode), _number(uid), _number(gid), length, _number(mtime) * _NANO
    )
    entry.full_size = length
    if kind is Kind.HARD_LINK or kind is Kind.SYMLINK:
        entry.link = _text(link)
    elif kind is Kind.CHARACTER or kind is Kind.BLOCK:
        entry.device = (_number(major), _number(minor))
    return type_, entry


def old_extents(block: bytes) -> tuple[list[Extent], bool, int]:
    """Return the extents in a GNU sparse header, whether more follow, and the full size."""
    found = _extents_at(block, _OLD_EXTENTS_AT, 4)
    return found, block[482] != 0, _number(block[483:495])


def more_extents(block: bytes) -> tuple[list[Extent], bool]:
    """Return the extents in a block that continues a GNU sparse header, and whether more follow."""
    return _extents_at(block, 0, 21), block[504] != 0


def _extents_at(block: bytes, start: int, count: int) -> list[Extent]:
    found = []
    for at in range(start, start + 24 * count, 24):
        if not block[at]:
            break
        found.append((_number(block[at : at + 12]), _number(block[at + 12 : at + 24])))
    return found


def pax_records(data: bytes) -> list[tuple[str, bytes]]:
    """Return the records of a pax header in order; TarError when it is malformed."""
    found = []
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        digits = data[at:space]
        if space < 0 or not digits.isdigit():
            raise TarError("a pax header has a malformed record")
        end = at + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
            raise TarError("a pax header has a malformed record")
        found.append((key.decode("utf-8", "surrogateescape"), value))
        at = end
    return found


def check_global(records: Sequence[tuple[str, bytes]]) -> None:
    """Refuse a global header that names what only one entry can have."""
    for key, _ in records:
        if key.startswith(_ONCE_ONLY):
            raise TarError(f"a global pax header sets {key}")


def with_records(entry: Entry, records: Sequence[tuple[str, bytes]]) -> bool:
    """Change an entry by pax records; returns whether a sparse map of version 1.0 follows.

    An empty value takes a record away that came before.
    """
    found = dict(records)
    for key, value in found.items():
        if key.startswith(_SCHILY):
            entry.xattrs[key.removeprefix(_SCHILY)] = value
        elif key.startswith(_LIBARCHIVE):
            name = unquote_to_bytes(key.removeprefix(_LIBARCHIVE)).decode("utf-8", "replace")
            if _SCHILY + name not in found:
                entry.xattrs[name] = _decoded(value)
        elif value:
            _set(entry, key, value)
    return _sparse(entry, records, found)


def _set(entry: Entry, key: str, value: bytes) -> None:
    match key:
        case "path":
            entry.name = _whole_text(key, value)
        case "linkpath":
            if entry.kind in (Kind.HARD_LINK, Kind.SYMLINK):
                entry.link = _whole_text(key, value)
        case "size":
            entry.size = entry.full_size = _decimal(key, value)
        case "uid":
            entry.uid = _decimal(key, value)
        case "gid":
            entry.gid = _decimal(key, value)
        case "mtime":
            entry.mtime_ns = _time_ns(value)


def _whole_text(key: str, value: bytes) -> str:
    if b"\0" in value:
        raise TarError(f"pax record {key} has a zero byte")
    return value.decode("utf-8", "surrogateescape")


def _decimal(key: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise TarError(f"pax record {key} is no number: {value[:24]!r}")
    return int(value)


def _time_ns(value: bytes) -> int:
    """Return nanoseconds of decimal seconds; as text, for a float would lose the last digits."""
    sign = -1 if value.startswith(b"-") else 1
    whole, _, part = value.removeprefix(b"-").partition(b".")
    if not (whole + part).isdigit() or len(whole) > 24:
        raise TarError(f"pax record mtime is no time: {value[:24]!r}")
    return sign * (int(whole or b"0") * _NANO + int(part[:9].ljust(9, b"0")))


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise TarError("an attribute of libarchive is not base 64") from None


def _sparse(entry: Entry, records: Sequence[tuple[str, bytes]], found: Mapping[str, bytes]) -> bool:
    """Take the sparse file's records; True when its map comes with the data."""
    if found.get("GNU.sparse.name"):
        entry.name = _whole_text("GNU.sparse.name", found["GNU.sparse.name"])
    if "GNU.sparse.major" in found:
        version = found["GNU.sparse.major"] + b"." + found.get("GNU.sparse.minor", b"0")
        if version != b"1.0":
            raise TarError(f"sparse files of version {version!r} are not known")
        entry.full_size = _decimal("size", found.get("GNU.sparse.realsize", b""))
        return True
    if "GNU.sparse.map" in found:
        numbers = found["GNU.sparse.map"].split(b",") if found["GNU.sparse.map"] else []
    elif "GNU.sparse.offset" in found:
        numbers = [
            value for key, value in records if key in ("GNU.sparse.offset", "GNU.sparse.numbytes")
        ]
    else:
        return False
    entry.full_size = _decimal("size", found.get("GNU.sparse.size", b""))
    entry.extents = extents_of(numbers)
    return False


def extents_of(numbers: Sequence[bytes]) -> list[Extent]:
    """Return the extents of offset, length, offset, length as decimal text."""
    if len(numbers) % 2:
        raise TarError("a sparse file's map ends in the middle")
    values = [_decimal("GNU.sparse", one) for one in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def checked(entry: Entry) -> Entry:
    """Return the entry, or raise TarError where it contradicts itself."""
    if min(entry.size, entry.full_size, entry.mode, entry.uid, entry.gid, *entry.device) < 0:
        raise TarError(f"{entry.name}: a number is negative")
    if max(entry.uid, entry.gid, *entry.device) >= _NO_ID:
        raise TarError(f"{entry.name}: an owner or a device is out of range")
    entry.mtime_ns = max(-_MOST_NS, min(entry.mtime_ns, _MOST_NS))
    if entry.kind is not Kind.FILE:
        entry.size = entry.full_size = 0
        entry.extents = None
    elif entry.extents is not None:
        at = total = 0
        for offset, length in entry.extents:
            if offset < at:
                raise TarError(f"{entry.name}: the map of a sparse file is not in order")
            at, total = offset + length, total + length
        if at > entry.full_size or total != entry.size:
            raise TarError(f"{entry.name}: the map of a sparse file does not fit its size")
    entry.mode &= 0o7777
    return entry


def header(entry: Entry) -> bytes:
    """Return the blocks that stand before an entry's data. Sparse files are not written."""
    records: list[tuple[str, bytes]] = []
    name = entry.name.encode("utf-8", "surrogateescape")
    if entry.kind is Kind.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    front, last = _split(name)
    if len(last) > 100 or not name.isascii():
        records.append(("path", name))
        front, last = b"", last[:100]
    link = entry.link.encode("utf-8", "surrogateescape")
    if len(link) > 100 or not link.isascii():
        records.append(("linkpath", link))
    size = entry.size if entry.kind is Kind.FILE else 0
    for key, value, digits in (("size", size, 11), ("uid", entry.uid, 7), ("gid", entry.gid, 7)):
        if value >= 8**digits:
            records.append((key, b"%d" % value))
    seconds, fraction = divmod(entry.mtime_ns, _NANO)
    if fraction or not 0 <= seconds < 8**11:
        records.append(("mtime", _seconds_text(entry.mtime_ns)))
    records += [(_SCHILY + key, value) for key, value in sorted(entry.xattrs.items())]
    block = _block(entry, front, last, link, size)
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in records)
    extended = Entry("PaxHeaders/" + entry.name.rpartition("/")[2][:40], size=len(data))
    safe = extended.name.encode("ascii", "replace")
    front_block = _block(extended, b"", safe, b"", len(data), type_=b"x")
    return front_block + data + bytes(padding(len(data))) + block


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Divide a long name at a slash into prefix and rest, as ustar does, if it can be."""
    if len(name) <= 100:
        return b"", name
    at = name.find(b"/", max(0, len(name) - 101), len(name) - 1)
    return (name[:at], name[at + 1 :]) if 0 < at <= 155 else (b"", name)


def _seconds_text(time_ns: int) -> bytes:
    sign = "-" if time_ns < 0 else ""
    seconds, fraction = divmod(abs(time_ns), _NANO)
    text = f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".")
    return text.encode()


def _record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
    size = len(body)
    while size != len(body) + len(str(size)):
        size = len(body) + len(str(size))
    return b"%d" % size + body


def _block(
    entry: Entry, front: bytes, last: bytes, link: bytes, size: int, type_: bytes = b""
) -> bytes:
    seconds = entry.mtime_ns // _NANO
    fields = [
        last, b"%07o\0" % entry.mode, _octal(entry.uid, 7), _octal(entry.gid, 7),
        _octal(size, 11), _octal(seconds, 11), b"        ", type_ or entry.kind.value,
        link[:100], b"ustar\0", b"00", b"", b"", b"%07o\0" % entry.device[0],
        b"%07o\0" % entry.device[1], front, b"",
    ]  # fmt: skip
    block = _LAYOUT.pack(*fields)
    fields[6] = b"%06o\0 " % sum(block)
    return _LAYOUT.pack(*fields)


def _octal(value: int, digits: int) -> bytes:
    """Return a number field; a value that does not fit stands in a pax record, and 0 here."""
    return b"%0*o\0" % (digits, value if 0 <= value < 8**digits else 0)
