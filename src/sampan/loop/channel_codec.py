"""The client's side of "gRPC over HTTP/2": request headers out, status in. Pure.

Source: grpc/doc/PROTOCOL-HTTP2.md, http-grpc-status-mapping.md and statuscodes.md.
"""

from __future__ import annotations

from sampan.wire.grpc.metadata import decode_message, decode_metadata, encode_metadata
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.headers import Head, encode_headers

__all__ = [
    "metadata_block",
    "metadata_of",
    "reset_error",
    "response_error",
    "status_error",
    "timeout_text",
]

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
    """Encode request metadata; raises ValueError for text outside printable ASCII."""
    return encode_headers(encode_metadata(metadata))


def metadata_of(head: Head) -> Metadata:
    """Return a header block's metadata; RpcError INTERNAL when it is malformed."""
    return decode_metadata(head.headers)


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
    message = decode_message(trailers.get("grpc-message") or "")
    return RpcError(code, message, metadata)


def reset_error(code: ErrorCode, reason: str) -> RpcError:
    """Return what RST_STREAM with `code` means for the call."""
    return RpcError(_RESET_CODES.get(code, Code.INTERNAL), f"stream {code.name}: {reason}")
