"""gRPC status codes and the error that carries one.

Source: the gRPC status code list (grpc/doc/statuscodes.md) and "gRPC over HTTP/2".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

__all__ = ["Code", "Metadata", "RpcError"]

Metadata = Sequence[tuple[str, str | bytes]]
"""Ordered name-value pairs; names are lower case, a `-bin` name carries bytes."""


class Code(IntEnum):
    """A gRPC status code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """An RPC ended with a status other than OK.

    `message` is the plain text (percent-encoding is the wire's business); `metadata` are the
    trailers beside the status.
    """

    def __init__(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.metadata = metadata

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"
