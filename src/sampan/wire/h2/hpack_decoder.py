"""Reading HPACK: header blocks into fields, with the connection's dynamic table.

Written for blocks that are mostly references to the table, which is what clients send from their
second request on. The static table and the Huffman code are those of the `hpack` library.

Source: RFC 7541.
"""

from __future__ import annotations

from collections import deque

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

__all__ = ["Field", "HpackDecoder", "HpackFault", "ListTooLarge"]

Field = tuple[bytes, bytes]

_STATIC: tuple[Field, ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_FIRST_DYNAMIC = len(_STATIC)
_TABLE_BYTES = 4096  # never advertised differently
_MAX_INTEGER_OCTETS = 5


class HpackFault(Exception):
    """The block is no HPACK; the table is lost, and the connection with it."""


class ListTooLarge(HpackFault):
    """The block unfolds to more than the limit."""


class HpackDecoder:
    """The decoding side of one connection. `changes` counts what happened to its table."""

    def __init__(self, list_limit_bytes: int) -> None:
        self._list_limit_bytes = list_limit_bytes
        # Newest first, as the indices count.
        self._table: deque[Field] = deque()
        self._size_bytes = 0
        self._limit_bytes = _TABLE_BYTES
        self.changes = 0

    def decode(self, block: bytes) -> list[Field]:
        """Return the fields of `block` in order; raises HpackFault."""
        try:
            return self._decode(block)
        except IndexError:
            raise HpackFault("index out of the table, or the block is cut off") from None
        except HPACKError as error:
            raise HpackFault(str(error)) from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        table = self._table
        position, end = 0, len(block)
        left = self._list_limit_bytes
        while position < end:
            first = block[position]
            if first > 0x80 and first != 0xFF:
                position += 1
                index = first & 0x7F
                field = table[index - _FIRST_DYNAMIC] if index >= _FIRST_DYNAMIC else _STATIC[index]
            elif first >= 0x80:
                index, position = _integer(block, position, 0x7F)
                field = self._field(index)
            elif first & 0xE0 == 0x20:
                if fields:
                    raise HpackFault("table size update after a field")
                size, position = _integer(block, position, 0x1F)
                self._resize(size)
                continue
            else:
                field, position = self._literal(block, position)
                if first & 0x40:
                    self._add(field)
            left -= len(field[0]) + len(field[1]) + 32
            if left < 0:
                raise ListTooLarge("header list too large")
            fields.append(field)
        return fields

    def _field(self, index: int) -> Field:
        if index >= _FIRST_DYNAMIC:
            return self._table[index - _FIRST_DYNAMIC]
        if not index:
            raise HpackFault("index 0")
        return _STATIC[index]

    def _literal(self, block: bytes, position: int) -> tuple[Field, int]:
        mask = 0x3F if block[position] & 0x40 else 0x0F
        index, position = _integer(block, position, mask)
        if index:
            name = self._field(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        return (name, value), position

    def _add(self, field: Field) -> None:
        self.changes += 1
        self._table.appendleft(field)
        self._size_bytes += len(field[0]) + len(field[1]) + 32
        self._evict()

    def _resize(self, limit_bytes: int) -> None:
        if limit_bytes > _TABLE_BYTES:
            raise HpackFault("table size update above the setting")
        self.changes += 1
        self._limit_bytes = limit_bytes
        self._evict()

    def _evict(self) -> None:
        while self._size_bytes > self._limit_bytes:
            name, value = self._table.pop()
            self._size_bytes -= len(name) + len(value) + 32


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Read an integer with a prefix of `mask`; return it and where the next byte is."""
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    for shift in range(0, 7 * _MAX_INTEGER_OCTETS, 7):
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
    raise HpackFault("integer too long")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    huffman = block[position] & 0x80
    size, position = _integer(block, position, 0x7F)
    stop = position + size
    if stop > len(block):
        raise HpackFault("string longer than the block")
    text = block[position:stop]
    return (decode_huffman(text) if huffman else text), stop
