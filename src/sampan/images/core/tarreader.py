"""The entries of a tar in order, out of a source of bytes; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from sampan.base.errors import LimitError
from sampan.images.core.tar import (
    BLOCK_BYTES,
    Entry,
    Extent,
    Kind,
    TarError,
    check_global,
    checked,
    extents_of,
    more_extents,
    old_extents,
    padding,
    pax_records,
    raw_entry,
    with_records,
)

__all__ = ["Source", "TarReader"]

_ZEROS: Final = bytes(BLOCK_BYTES)
_EXTENDED_BYTES: Final = 1 << 20
_MAP_BYTES: Final = 8 << 20


class Source(Protocol):
    """Where the bytes come from. What it returns is valid until it is asked again."""

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, fewer only at the end."""
        ...

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes piece by piece, fewer only at the end."""
        ...


class TarReader:
    """Reads one tar. After an entry its data may be taken, or not, once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._padding = 0
        self._globals: dict[str, bytes] = {}
        self._begun = False

    def next(self) -> Entry | None:
        """Return the next entry, None at the end; TarError for what is no tar.

        The end is two blocks of zeros. A tar that ends at once at an entry's end is taken, as by
        everybody; one that ends elsewhere is not.
        """
        self._skip()
        records: list[tuple[str, bytes]] = []
        name: bytes | None = None
        link: bytes | None = None
        while True:
            block = bytes(self._source.take(BLOCK_BYTES))
            if block == _ZEROS or not block:
                if records or name is not None or link is not None:
                    raise TarError("the tar ends after an extended header")
                self._end(block)
                return None
            if len(block) < BLOCK_BYTES:
                raise TarError("the tar ends in the middle of a header")
            self._begun = True
            type_, entry = raw_entry(block)
            match type_:
                case b"x" | b"X":
                    records = pax_records(self._extended(entry))
                case b"g":
                    found = pax_records(self._extended(entry))
                    check_global(found)
                    self._globals.update(found)
                case b"L":
                    name = self._extended(entry)
                case b"K":
                    link = self._extended(entry)
                case _:
                    return self._finished(type_, block, entry, records, name, link)

    def _end(self, block: bytes) -> None:
        if not block:
            if not self._begun:
                raise TarError("the tar is empty")
            return
        second = self._source.take(BLOCK_BYTES)
        if len(second) and second != _ZEROS:
            raise TarError("the tar goes on behind a block of zeros")

    def _extended(self, entry: Entry) -> bytes:
        """Return the data of an extended header."""
        size = entry.size
        if not 0 <= size <= _EXTENDED_BYTES:
            raise LimitError(f"an extended tar header is larger than {_EXTENDED_BYTES} bytes")
        data = bytes(self._source.take(size + padding(size)))
        if len(data) < size + padding(size):
            raise TarError("the tar ends in the middle of an extended header")
        return data[:size]

    def _finished(
        self,
        type_: bytes,
        block: bytes,
        entry: Entry,
        records: list[tuple[str, bytes]],
        name: bytes | None,
        link: bytes | None,
    ) -> Entry:
        """Complete an entry by what stood before it."""
        if type_ not in b"\x0001234567S":
            raise TarError(f"{entry.name}: unknown kind of entry {type_!r}")
        if name is not None:
            long = name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            with_records(entry, [("path", long.encode("utf-8", "surrogateescape"))])
        if link is not None and entry.link:
            entry.link = link.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        if type_ == b"S":
            self._old_sparse(entry, block)
        stored = entry.size
        if records or self._globals:
            mapped = with_records(entry, [*self._globals.items(), *records])
            stored = entry.size
            if mapped:
                used, entry.extents = self._map(stored)
                entry.size = stored - used
        elif type_ != b"S":
            entry.full_size = stored
        if type_ in b"\x000" and entry.name.endswith("/"):
            entry.kind = Kind.DIRECTORY  # as before there was a type for it
        checked(entry)
        self._left, self._padding = entry.size, padding(entry.size)
        return entry

    def _old_sparse(self, entry: Entry, block: bytes) -> None:
        extents, more, entry.full_size = old_extents(block)
        while more:
            if len(extents) > _MAP_BYTES // 24:
                raise LimitError(f"{entry.name}: the map of a sparse file is too long")
            further = bytes(self._source.take(BLOCK_BYTES))
            if len(further) < BLOCK_BYTES:
                raise TarError("the tar ends in the map of a sparse file")
            found, more = more_extents(further)
            extents += found
        entry.extents = extents

    def _map(self, stored: int) -> tuple[int, list[Extent]]:
        """Read the map that precedes the data of a sparse file of version 1.0."""
        blocks: list[bytes] = []
        lines, wanted, used = 0, 1, 0
        while lines < wanted:
            if used >= min(stored, _MAP_BYTES):
                raise TarError("the map of a sparse file is longer than its data")
            block = bytes(self._source.take(BLOCK_BYTES))
            if len(block) < BLOCK_BYTES:
                raise TarError("the tar ends in the map of a sparse file")
            if not blocks:
                count = block.partition(b"\n")[0]
                if not count.isdigit() or len(count) > 7:
                    raise TarError("the map of a sparse file has no length")
                wanted = 1 + 2 * int(count)
            blocks.append(block)
            lines, used = lines + block.count(b"\n"), used + BLOCK_BYTES
        text = b"".join(blocks)
        return used, extents_of(text.split(b"\n")[1:wanted])

    def data(self) -> Iterator[memoryview]:
        """Yield the present entry's data piece by piece."""
        left, self._left = self._left, 0
        for piece in self._source.pieces(left):
            left -= len(piece)
            yield piece
        if left:
            raise TarError("the tar ends in the middle of a file")
        self._pad()

    def _pad(self) -> None:
        count, self._padding = self._padding, 0
        if count and len(self._source.take(count)) < count:
            raise TarError("the tar ends in the middle of a file")

    def _skip(self) -> None:
        if self._left:
            for _ in self.data():
                pass
        elif self._padding:
            self._pad()
