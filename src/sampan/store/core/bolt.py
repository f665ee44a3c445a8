"""bbolt's database file format, which etcd's snapshots and backends have: a writer and a reader.

The file is pages of 4096 bytes: two meta pages, a freelist page, and a B+ tree per bucket of branch
and leaf pages; the root tree holds the buckets. Numbers are little-endian. A page starts with

    id u64, flags u16, count u16, overflow u32 (further pages that this one runs over)

Source: go.etcd.io/bbolt, internal/common/page.go and meta.go.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from mmap import mmap

__all__ = ["PAGE_BYTES", "BoltError", "BoltReader", "BoltWriter", "is_bolt"]

PAGE_BYTES: Final = 4096
MAGIC: Final = 0xED0CDAED
VERSION: Final = 2

BRANCH: Final = 0x01
LEAF: Final = 0x02
META: Final = 0x04
FREELIST: Final = 0x10
BUCKET_LEAF: Final = 0x01
"""Flag of a leaf element whose value is a bucket."""

_PAGE: Final = struct.Struct("<QHHI")
_LEAF: Final = struct.Struct("<IIII")  # flags, offset from the element, key size, value size
_BRANCH: Final = struct.Struct("<IIQ")  # offset from the element, key size, page
_BUCKET: Final = struct.Struct("<QQ")  # root page (0: inline), sequence
_META: Final = struct.Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, seq, freelist,
#                                             high-water page, transaction
_SUM: Final = struct.Struct("<Q")
_FIRST_FREE_PAGE: Final = 3

Data: TypeAlias = "bytes | mmap"
_Child = tuple[bytes, int]  # first key of a page, its id


class BoltError(ValueError):
    """Not a bbolt database, or a damaged one; the message names the page."""


def _fnv64a(data: bytes) -> int:
    """Return the FNV-1a hash, the checksum of a meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def is_bolt(head: bytes) -> bool:
    """Tell whether a file that starts with these bytes (32 at least) is a bbolt database."""
    if len(head) < _PAGE.size + 8:
        return False
    flags = _PAGE.unpack_from(head)[1]
    magic, version = struct.unpack_from("<II", head, _PAGE.size)
    return bool(flags & META) and (magic, version) == (MAGIC, VERSION)


class BoltWriter:
    """Writes a database front to back; only the meta pages are written last, at the front.

    `write(offset, data)` puts bytes into the file. Add the buckets, then call `finish`.
    Memory: one page, and about 40 bytes for each leaf page written.
    """

    def __init__(self, write: Callable[[int, bytes], object]) -> None:
        self._write = write
        self._next_page = _FIRST_FREE_PAGE
        self._roots: dict[bytes, int] = {}

    def add_bucket(self, name: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write a bucket; `pairs` come in ascending key order. Raises BoltError if not."""
        self._roots[name] = self._tree((key, value, 0) for key, value in pairs)

    def finish(self) -> int:
        """Write the root and the meta pages; return the size of the file in bytes."""
        roots = sorted(self._roots.items())
        root = self._tree((name, _BUCKET.pack(page, 0), BUCKET_LEAF) for name, page in roots)
        self._put(2, _PAGE.pack(2, FREELIST, 0, 0))
        for page in (0, 1):
            high = self._next_page
            meta = _META.pack(MAGIC, VERSION, PAGE_BYTES, 0, root, 0, 2, high, page)
            head = _PAGE.pack(page, META, 0, 0)
            self._put(page, head + meta + _SUM.pack(_fnv64a(meta)))
        return self._next_page * PAGE_BYTES

    def _put(self, page: int, content: bytes) -> None:
        self._write(page * PAGE_BYTES, content + bytes(-len(content) % PAGE_BYTES))

    def _tree(self, elements: Iterable[tuple[bytes, bytes, int]]) -> int:
        """Write a B+ tree of (key, value, flags) bottom-up; return its root page."""
        level: list[_Child] = []
        leaf: list[tuple[bytes, bytes, int]] = []
        size = _PAGE.size
        previous: bytes | None = None
        for element in elements:
            key, value, _ = element
            if previous is not None and key <= previous:
                raise BoltError(f"keys are not ascending: {key!r} after {previous!r}")
            previous = key
            cost = _LEAF.size + len(key) + len(value)
            if leaf and size + cost > PAGE_BYTES:
                level.append((leaf[0][0], self._leaf_page(leaf)))
                leaf, size = [], _PAGE.size
            leaf.append(element)
            size += cost
        level.append((leaf[0][0] if leaf else b"", self._leaf_page(leaf)))
        while len(level) > 1:
            level = self._branch_level(level)
        return level[0][1]

    def _branch_level(self, children: list[_Child]) -> list[_Child]:
        level: list[_Child] = []
        branch: list[_Child] = []
        size = _PAGE.size
        for child in children:
            cost = _BRANCH.size + len(child[0])
            if len(branch) > 1 and size + cost > PAGE_BYTES:  # two at least, or there is no top
                level.append((branch[0][0], self._branch_page(branch)))
                branch, size = [], _PAGE.size
            branch.append(child)
            size += cost
        level.append((branch[0][0], self._branch_page(branch)))
        return level

    def _leaf_page(self, elements: list[tuple[bytes, bytes, int]]) -> int:
        position = _LEAF.size * len(elements)
        heads: list[bytes] = []
        bodies: list[bytes] = []
        for index, (key, value, flags) in enumerate(elements):
            offset = position - _LEAF.size * index
            heads.append(_LEAF.pack(flags, offset, len(key), len(value)))
            bodies += (key, value)
            position += len(key) + len(value)
        return self._page(LEAF, heads, bodies)

    def _branch_page(self, children: list[_Child]) -> int:
        position = _BRANCH.size * len(children)
        heads, bodies = [], []
        for index, (key, page) in enumerate(children):
            heads.append(_BRANCH.pack(position - _BRANCH.size * index, len(key), page))
            bodies.append(key)
            position += len(key)
        return self._page(BRANCH, heads, bodies)

    def _page(self, flags: int, heads: list[bytes], bodies: list[bytes]) -> int:
        content = b"".join((*heads, *bodies))
        pages = -(-(_PAGE.size + len(content)) // PAGE_BYTES)
        page = self._next_page
        self._next_page += pages
        self._put(page, _PAGE.pack(page, flags, len(heads), pages - 1) + content)
        return page


class BoltReader:
    """Reads the buckets of a database at its last transaction; checks what it follows."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._page_bytes, self._root, self._high_page, self.size_bytes = self._newest_meta()

    def _newest_meta(self) -> tuple[int, int, int, int]:
        found = []
        for page_bytes in (PAGE_BYTES, 8192, 16384, 65536, 1024, 2048, 32768):
            for start in (0, page_bytes):
                meta = self._meta_at(start)
                if meta is not None and (start == 0 or meta[1] == page_bytes):
                    found.append(meta)
            if found:
                break
        if not found:
            raise BoltError("not a bbolt database: no valid meta page")
        _, page_bytes, root, high = max(found)
        size = high * page_bytes
        if size > len(self._data):
            raise BoltError(f"database is cut short: {len(self._data)} of {size} bytes")
        return page_bytes, root, high, size

    def _meta_at(self, start: int) -> tuple[int, int, int, int] | None:
        """Return (transaction, page size, root, high-water page) of a sound meta page."""
        start += _PAGE.size
        end = start + _META.size
        if end + _SUM.size > len(self._data):
            return None
        raw = self._data[start:end]
        magic, version, page_bytes, _, root, _, _, high, transaction = _META.unpack(raw)
        (total,) = _SUM.unpack_from(self._data, end)
        if (magic, version) != (MAGIC, VERSION) or total != _fnv64a(raw):
            return None
        return transaction, page_bytes, root, high

    def buckets(self) -> list[bytes]:
        """Return the names of all buckets in byte order. Raises BoltError."""
        return [key for key, _, flags in self._walk(self._root, 0) if flags & BUCKET_LEAF]

    def items(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of a bucket in key order; nothing if there is no such bucket.

        Raises BoltError when it meets a damaged page.
        """
        for name, value, flags in self._walk(self._root, 0):
            if name == bucket and flags & BUCKET_LEAF:
                yield from self._bucket(value)

    def _bucket(self, value: bytes) -> Iterator[tuple[bytes, bytes]]:
        if len(value) < _BUCKET.size:
            raise BoltError("bucket header is cut short")
        root, _ = _BUCKET.unpack_from(value)
        if root:
            elements = self._walk(root, 0)
        else:
            elements = self._leaf(value, _BUCKET.size, len(value), "an inline bucket")
        for key, content, flags in elements:
            if not flags & BUCKET_LEAF:
                yield key, content

    def _walk(self, page: int, depth: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield (key, value, flags) of a tree in order."""
        start = page * self._page_bytes
        if not 1 < page < self._high_page or depth > 64:
            raise BoltError(f"reference to page {page} is out of range")
        number, flags, count, overflow = _PAGE.unpack_from(self._data, start)
        end = start + (overflow + 1) * self._page_bytes
        if number != page or end > self.size_bytes:
            raise BoltError(f"page {page} is damaged: it says it is page {number}")
        if flags & LEAF:
            yield from self._leaf(self._data, start, end, f"page {page}")
        elif flags & BRANCH:
            for index in range(count):
                place = start + _PAGE.size + index * _BRANCH.size
                yield from self._walk(_BRANCH.unpack_from(self._data, place)[2], depth + 1)
        else:
            raise BoltError(f"page {page} is damaged: flags {flags:#x}")

    def _leaf(
        self, data: Data, start: int, end: int, what: str
    ) -> Iterator[tuple[bytes, bytes, int]]:
        count = _PAGE.unpack_from(data, start)[2] if start + _PAGE.size <= end else 0xFFFF
        place = start + _PAGE.size
        if place + count * _LEAF.size > end:
            raise BoltError(f"{what} is damaged: {count} elements do not fit")
        for _ in range(count):
            flags, offset, key_bytes, value_bytes = _LEAF.unpack_from(data, place)
            key_at = place + offset
            value_at = key_at + key_bytes
            if value_at + value_bytes > end:
                raise BoltError(f"{what} is damaged: an element runs over its end")
            yield data[key_at:value_at], data[value_at : value_at + value_bytes], flags
            place += _LEAF.size
