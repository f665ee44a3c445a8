"""Header blocks of SPDY/3: name/value pairs under zlib with a dictionary both sides know.

The dictionary and the layout are given by the SPDY Protocol draft 3, sections 2.6.10 and 2.6.10.1.
One compression context lasts as long as the connection, in each direction.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from sampan.base.errors import InvalidError, LimitError

__all__ = ["DICTIONARY", "Compressor", "Decompressor"]

_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
).split()
_PHRASES: Final = (*_WORDS, "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie")
_CODES: Final = (
    "100 101 201 202 205 206 300 302 303 304 305 306 307 402 405 406 407 408 409 410 411 412 413 "
    "414 415 416 417 502 504 505"
).replace(" ", "")
_STATUS: Final = (
    "203 Non-Authoritative Information",
    "204 No Content",
    "301 Moved Permanently",
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "500 Internal Server Error",
    "501 Not Implemented",
    "503 Service Unavailable",
)
_DATES: Final = (
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, "
    "GMT"
)
_TYPES: Final = (
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    "text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    phrases = (*_PHRASES, "keep-alive", "origin")
    counted = b"".join(struct.pack(">I", len(word)) + word.encode() for word in phrases)
    return counted + (_CODES + "".join(_STATUS) + _DATES + _TYPES).encode()


DICTIONARY: Final = _dictionary()
"""The 1,423 bytes that every connection's compression starts from."""


class Compressor:
    """The header blocks that one side sends."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """Return the compressed block of these headers; names are sent in lower case."""
        pieces = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                pieces += (struct.pack(">I", len(text)), text)
        return self._zlib.compress(b"".join(pieces)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Decompressor:
    """The header blocks that one side receives."""

    def __init__(self, limit_bytes: int = 64 * 1024) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)
        self._limit_bytes = limit_bytes

    def decode(self, block: bytes) -> dict[str, str]:
        """Return the headers of a compressed block.

        Raises InvalidError when it is malformed, LimitError when it unfolds beyond the limit. The
        connection cannot go on after either, for its context is lost.
        """
        try:
            data = self._zlib.decompress(block, self._limit_bytes)
        except zlib.error as error:
            raise InvalidError(f"SPDY header block: {error}") from None
        if self._zlib.unconsumed_tail:
            raise LimitError(f"SPDY header block unfolds beyond {self._limit_bytes} bytes")
        return _pairs(data)


def _pairs(data: bytes) -> dict[str, str]:
    at = 4

    def text() -> str:
        nonlocal at
        (length,) = struct.unpack_from(">I", data, at)
        if at + 4 + length > len(data):
            raise InvalidError("SPDY header block ends within a name or value")
        found = data[at + 4 : at + 4 + length]
        at += 4 + length
        return found.decode()

    try:
        (count,) = struct.unpack_from(">I", data, 0)
        if count > len(data) // 8:
            raise InvalidError(f"SPDY header block claims {count} headers")
        headers = {}
        for _ in range(count):
            name = text()
            headers[name] = text()
    except (struct.error, UnicodeDecodeError) as error:
        raise InvalidError(f"SPDY header block: {error}") from None
    return headers
