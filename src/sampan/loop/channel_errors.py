"""Errors of the RPC channel beside `RpcError`.

RpcError
  NotProcessedError    UNAVAILABLE, and the server surely did not act on the call
"""

from __future__ import annotations

from sampan.wire.grpc.status import Code, RpcError

__all__ = ["NotProcessedError"]


class NotProcessedError(RpcError):
    """The call failed before any server application saw it; repeating it is safe, even a write.

    Raised when no connection could be made, for a stream refused with REFUSED_STREAM, and for a
    stream above the last id of a GOAWAY (RFC 9113, sections 6.8 and 8.7).
    """

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message)
