"""The client's side of "gRPC over HTTP/2": request headers out, status and messages in. Pure.

Source: grpc/doc/PROTOCOL-HTTP2.md, http-grpc-status-mapping.md and statuscodes.md.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator
from urllib.parse import unquote

from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.headers import Head, encode_headers

__all__ = [
    "MessageReader",
    "frame_message",
    "metadata_block",
    "metadata_of",
    "reset_error",
    "response_error",
    "status_error",
    "timeout_text",
]

_PREFIX = struct.Struct(">BI")
_RESERVED = frozenset({"grpc-status", "grpc-message", "grpc-encoding", "grpc-accept-encoding"})
_HTTP_CODES = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
_RESET_CODES = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}
_TIMEOUT_UNITS = ((1e9, "n"), (1e6, "u"), (1e3, "m"), (1.0, "S"), (1 / 60, "M"), (1 / 3600, "H"))
_TIMEOUT_DIGITS = 99_999_999


def timeout_text(timeout_s: float) -> str:
    """Return `timeout_s` as grpc-timeout: at most eight digits, in the finest unit that fits."""
    for per_second, unit in _TIMEOUT_UNITS:
        number = round(max(0.0, timeout_s) * per_second)
        if number <= _TIMEOUT_DIGITS:
            return f"{number}{unit}"
    return f"{_TIMEOUT_DIGITS}H"


def metadata_block(metadata: Metadata) -> bytes:
    """Encode request metadata; `-bin` values are bytes, all others printable ASCII text."""
    fields: list[tuple[str, str]] = []
    for name, value in metadata:
        if name.endswith("-bin"):
            raw = value.encode() if isinstance(value, str) else value
            fields.append((name.lower(), b64encode(raw).rstrip(b"=").decode()))
            continue
        text = value.decode("ascii") if isinstance(value, bytes) else value
        if not (text.isascii() and text.isprintable()):
            raise ValueError(
                f"metadata {name!r}: a value outside printable ASCII needs a -bin name"
            )
        fields.append((name.lower(), text.strip(" ")))
    return encode_headers(fields)


def metadata_of(head: Head) -> Metadata:
    """Return a header block's metadata: everything that is not the protocol's own."""
    found: list[tuple[str, str | bytes]] = []
    for name, value in head.headers:
        if name in _RESERVED or name == "content-type":
            continue
        if not name.endswith("-bin"):
            found.append((name, value))
            continue
        for part in value.split(","):
            try:
                found.append((name, b64decode(part.strip() + "=" * (-len(part.strip()) % 4))))
            except Base64Error:
                raise RpcError(Code.INTERNAL, f"metadata {name} is not base64") from None
    return tuple(found)


def response_error(head: Head) -> RpcError | None:
    """Return why `head` is no gRPC response, None when it is one (RpcError UNAVAILABLE...)."""
    content_type = head.get("content-type") or ""
    if head.status == 200 and content_type.startswith("application/grpc"):
        return None
    if head.get("grpc-status") is not None:
        return None
    code = _HTTP_CODES.get(head.status, Code.UNKNOWN)
    return RpcError(code, f"HTTP status {head.status}, content-type {content_type!r}")


def status_error(trailers: Head) -> RpcError | None:
    """Return the status in `trailers` as an error, None for OK."""
    text = trailers.get("grpc-status")
    if text == "0":
        return None
    metadata = metadata_of(trailers)
    if text is None:
        return RpcError(Code.UNKNOWN, "the response has no grpc-status", metadata)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1
    code = Code(number) if 0 < number <= Code.UNAUTHENTICATED else Code.UNKNOWN
    message = unquote(trailers.get("grpc-message") or "", errors="replace")
    return RpcError(code, message, metadata)


def reset_error(code: ErrorCode, reason: str) -> RpcError:
    """Return what RST_STREAM with `code` means for the call."""
    return RpcError(_RESET_CODES.get(code, Code.INTERNAL), f"stream {code.name}: {reason}")


def frame_message(message: bytes) -> bytes:
    """Put the five-byte prefix before an uncompressed message."""
    return _PREFIX.pack(0, len(message)) + message


class MessageReader:
    """Cuts a response body into messages; raises RpcError for one too large or undecodable."""

    __slots__ = ("_buffer", "_gzip", "_limit_bytes")

    def __init__(self, limit_bytes: int, encoding: str | None = None) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes
        self._gzip = encoding == "gzip"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every message that `data` completes."""
        if not self._buffer and len(data) >= 5:
            flag, size = _PREFIX.unpack_from(data)
            if flag == 0 and size == len(data) - 5 <= self._limit_bytes:
                yield data[5:]
                return
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 5:
            flag, size = _PREFIX.unpack_from(buffer)
            if size > self._limit_bytes:
                raise self._too_large(size)
            if len(buffer) < 5 + size:
                return
            message = bytes(memoryview(buffer)[5 : 5 + size])
            del buffer[: 5 + size]
            yield self._inflate(message) if flag else message

    @property
    def partial(self) -> bool:
        """True while a message has begun and not ended."""
        return bool(self._buffer)

    def _inflate(self, message: bytes) -> bytes:
        if not self._gzip:
            raise RpcError(Code.INTERNAL, "a compressed message without a known grpc-encoding")
        inflater = zlib.decompressobj(wbits=31)
        try:
            plain = inflater.decompress(message, self._limit_bytes + 1)
        except zlib.error as error:
            raise RpcError(Code.INTERNAL, f"bad gzip message: {error}") from None
        if len(plain) > self._limit_bytes:
            raise self._too_large(len(plain))
        return plain

    def _too_large(self, size: int) -> RpcError:
        text = f"received message larger than max ({size} vs. {self._limit_bytes})"
        return RpcError(Code.RESOURCE_EXHAUSTED, text)
