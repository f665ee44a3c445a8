"""What a server hands to a handler and what a handler offers to a server.

Two shapes of method. A *unary* method is a plain function called on the event loop with the whole
request; it answers through the call, at once or later, so that the hot path pays for no task and no
future. A *streaming* method is a coroutine that receives and sends until it returns.
Messages are serialized protobuf; decoding is the handler's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sampan.wire.grpc.status import Code, Metadata

__all__ = [
    "HttpHandler",
    "HttpRequest",
    "HttpResponse",
    "MethodTable",
    "Peer",
    "ServerCall",
    "StreamCall",
    "StreamMethod",
    "UnaryCall",
    "UnaryMethod",
]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection: `address` as host:port, and its verified certificate's CN.

    `host_names` are the DNS names and IP addresses that the certificate stands for.
    """

    address: str
    common_name: str | None = None
    host_names: tuple[str, ...] = ()


class ServerCall(Protocol):
    """One RPC on the server, whatever its shape."""

    @property
    def path(self) -> str:
        """The full method name, `/package.Service/Method`."""
        ...

    @property
    def metadata(self) -> Metadata:
        """The request's metadata, without pseudo and `grpc-` headers."""
        ...

    @property
    def peer(self) -> Peer:
        """Who calls."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """Seconds until the deadline, None when the client set none. The server enforces it."""
        ...

    @property
    def done(self) -> bool:
        """True once answered, failed, cancelled, past its deadline or disconnected."""
        ...

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """End the call with an error status. No effect once the call is done."""
        ...

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the call ends for whatever reason (at once if it has)."""
        ...


class UnaryCall(ServerCall, Protocol):
    """A call that takes one message and answers one."""

    def reply(self, message: bytes) -> None:
        """Answer with `message` and status OK. No effect once the call is done."""
        ...


class StreamCall(ServerCall, Protocol):
    """A call with a stream on either side or both."""

    async def receive(self) -> bytes | None:
        """Return the next request message, None after the client's half-close.

        Raises RpcError(CANCELLED) when the call is done.
        """
        ...

    async def consume(self, take: Callable[[bytes], None]) -> None:
        """Hand every message to `take` as it arrives; return at the client's half-close.

        Cheaper than `receive` by a turn of the loop each. `take` must not block; an RpcError that
        it raises ends the call. Raises RpcError(CANCELLED) when the call is done.
        """
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def send(self, message: bytes) -> None:
        """Queue one message for sending; never blocks. No effect once the call is done."""
        ...

    def send_all(self, messages: Sequence[bytes]) -> None:
        """Queue several messages: the same as `send` for each, at a fraction of the cost."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """Bytes queued by `send` that flow control or the socket has not taken yet."""
        ...

    async def drain(self) -> None:
        """Wait until `buffered_bytes` is small again, or the call is done."""
        ...

    def send_metadata(self, metadata: Metadata) -> None:
        """Send the response headers now with this metadata, before any message."""
        ...


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """`handler(call, request)` runs on the loop, must not block; an RpcError it raises is sent."""

    handler: Callable[[UnaryCall, bytes], None]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """`await handler(call)`: a normal return ends the call with OK, RpcError with its status.

    The coroutine is cancelled when the call is done. `client_streaming` and `server_streaming` say
    the shape, for metrics and reflection.
    """

    handler: Callable[[StreamCall], Awaitable[None]]
    client_streaming: bool = True
    server_streaming: bool = True


MethodTable = Mapping[str, UnaryMethod | StreamMethod]
"""Full method name (`/etcdserverpb.KV/Range`) to method."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A plain HTTP request on the same port; `path` has the query, names are lower case."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    peer: Peer


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A plain HTTP response; an async iterator as body is sent chunk by chunk as it comes."""

    status: int
    headers: Sequence[tuple[str, str]] = field(default=())
    body: bytes | AsyncIterator[bytes] = b""


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
