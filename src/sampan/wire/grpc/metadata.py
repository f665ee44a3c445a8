"""Metadata, timeouts and status as header fields.

Source: "gRPC over HTTP/2": Requests, Responses, Custom-Metadata.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from sampan.wire.grpc.status import Code, Metadata, RpcError

__all__ = [
    "decode_message",
    "decode_metadata",
    "encode_message",
    "encode_metadata",
    "parse_timeout_s",
    "status_fields",
]

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])\Z", re.ASCII)
_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# Everything from space to tilde travels as it is, but for the escape character itself.
_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
_NEEDS_ESCAPE = re.compile(r"[^\x20-\x24\x26-\x7e]")
_RESERVED = frozenset({"te", "content-type", "content-length"})
_VALUE = re.compile(r"[\x20-\x7e]*\Z")


def parse_timeout_s(text: str) -> float:
    """Read a `grpc-timeout` value as seconds; RpcError(INTERNAL) when it is malformed."""
    match = _TIMEOUT.match(text)
    if match is None:
        raise RpcError(Code.INTERNAL, f"malformed grpc-timeout: {text!r}")
    return int(match[1]) * _UNIT_S[match[2]]


def encode_message(text: str) -> str:
    """Percent-encode a status message."""
    if not _NEEDS_ESCAPE.search(text):
        return text
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe=_PLAIN)


def decode_message(text: str) -> str:
    """Undo `encode_message`; what cannot be decoded is kept or replaced, never an error."""
    return unquote_to_bytes(text.encode("latin-1", "replace")).decode("utf-8", "replace")


def decode_metadata(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str | bytes], ...]:
    """Return the application's part of `headers`, `-bin` values decoded.

    Base64 is taken with and without padding; a comma joins several values. RpcError(INTERNAL) when
    a binary value is no base64.
    """
    result: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name in _RESERVED or name.startswith("grpc-"):
            continue
        if not name.endswith("-bin"):
            result.append((name, value))
            continue
        for part in value.split(","):
            part = part.strip().rstrip("=")
            try:
                data = base64.b64decode(part + "=" * (-len(part) % 4), validate=True)
            except (binascii.Error, ValueError):
                raise RpcError(Code.INTERNAL, f"malformed binary metadata in {name!r}") from None
            result.append((name, data))
    return tuple(result)


def encode_metadata(metadata: Metadata) -> list[tuple[str, str]]:
    """Return `metadata` as header fields, `-bin` values in base64 without padding.

    Raises ValueError for a text value outside printable ASCII.
    """
    fields: list[tuple[str, str]] = []
    for name, value in metadata:
        if isinstance(value, bytes):
            text = base64.b64encode(value).rstrip(b"=").decode("ascii")
        else:
            text = value
            if not _VALUE.match(text):
                raise ValueError(f"metadata {name!r} is not printable ASCII")
        fields.append((name.lower(), text))
    return fields


def status_fields(code: Code, message: str, metadata: Metadata = ()) -> list[tuple[str, str]]:
    """Return the trailers that end a call."""
    fields = [("grpc-status", str(int(code)))]
    if message:
        fields.append(("grpc-message", encode_message(message)))
    return fields + encode_metadata(metadata)
