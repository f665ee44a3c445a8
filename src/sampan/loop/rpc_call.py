"""What every RPC on the server shares: status, deadline, callbacks, the way to say no."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from sampan.loop.route import Route
from sampan.loop.server_limits import ServerLimits
from sampan.wire.grpc.metadata import status_fields
from sampan.wire.grpc.service import Peer
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.h2.codes import ErrorCode
from sampan.wire.h2.headers import Head, encode_headers
from sampan.wire.h2.sender import Sender, Stream

__all__ = ["GZIP_HEAD", "HEAD", "OK_TRAILERS", "CallHost", "RefusedCall", "RpcCall", "run_guarded"]

_LOG = logging.getLogger(__name__)

HEAD = encode_headers([(":status", "200"), ("content-type", "application/grpc")])
GZIP_HEAD = HEAD + encode_headers([("grpc-encoding", "gzip")])
OK_TRAILERS = encode_headers([("grpc-status", "0")])


class CallHost(Protocol):
    """The connection, as a call sees it."""

    loop: asyncio.AbstractEventLoop
    limits: ServerLimits
    peer: Peer
    partial_bytes: int


class RpcCall(Stream):
    """One RPC; the stream and the call are one object, which the hot path is glad of."""

    done = False
    _head_sent = False
    _held_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _callbacks: list[Callable[[], None]] | None = None

    def __init__(
        self, link: Sender, stream_id: int, head: Head, host: CallHost, route: Route
    ) -> None:
        # Not through Stream.__init__: one Python call less per request.
        self.link = link
        self.stream_id = stream_id
        self.head = head
        self.send_window = link.peer_stream_window
        if head.content_length is not None:
            self.declared_bytes = head.content_length
        self.host = host
        self.route = route
        route.stats.started += 1

    @property
    def path(self) -> str:
        """The full method name."""
        return self.head.path if self.head is not None else ""

    @property
    def metadata(self) -> Metadata:
        """The request's metadata."""
        return self.route.metadata

    @property
    def peer(self) -> Peer:
        """Who calls."""
        return self.host.peer

    @property
    def timeout_s(self) -> float | None:
        """Seconds from the start of the call to its deadline."""
        return self.route.timeout_s

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the call ends."""
        if self.done:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """End the call with an error status."""
        if self.done:
            return
        try:
            fields = status_fields(code, message, metadata)
        except (ValueError, UnicodeError):
            fields = status_fields(Code.INTERNAL, "invalid response metadata")
        if self.waiting:
            # The client reads too slowly to be told in order.
            self.reset(ErrorCode.CANCEL)
        else:
            block = encode_headers(fields)
            self.send_headers(block if self._head_sent else HEAD + block, end_stream=True)
        self.finish(code)

    def on_reset(self, code: ErrorCode, reason: str) -> None:
        """The client cancelled, or the connection is gone."""
        if not self.done:
            self.finish(Code.CANCELLED if code is ErrorCode.CANCEL else Code.UNAVAILABLE)

    def hold(self, size_bytes: int) -> None:
        """Say how much of its request the call keeps in memory.

        Raises RpcError(RESOURCE_EXHAUSTED) when the connection's calls keep too much together.
        """
        host = self.host
        more_bytes = size_bytes - self._held_bytes
        self._held_bytes = size_bytes
        host.partial_bytes += more_bytes
        if more_bytes > 0 and host.partial_bytes > host.limits.partial_request_bytes:
            raise RpcError(Code.RESOURCE_EXHAUSTED, "grpc: too much request data waits")

    def arm(self) -> None:
        """Start the deadline's clock."""
        if self.route.timeout_s is not None:
            self._timer = self.host.loop.call_later(self.route.timeout_s, self._expire)

    def _expire(self) -> None:
        self.fail(Code.DEADLINE_EXCEEDED, "context deadline exceeded")

    def finish(self, code: Code | int) -> None:
        """Mark the call done and tell those who asked."""
        self.done = True
        self.route.stats.handled[code] += 1
        if self._held_bytes:
            self.hold(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            run_guarded(callback)


class RefusedCall(RpcCall):
    """A call that fails for what its headers say."""

    def on_request(self, body: bytes) -> None:
        """Refuse."""
        self.on_head(True)

    def on_head(self, end_stream: bool) -> None:
        """Refuse."""
        error = self.route.error or RpcError(Code.INTERNAL, "no method")
        self.fail(error.code, error.message, error.metadata)


def run_guarded(callback: Callable[[], None]) -> None:
    """Run a callback of the application; its failure must not take the connection down."""
    try:
        callback()
    except Exception:
        _LOG.exception("a callback at the end of a call failed")
