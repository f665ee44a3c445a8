"""What a server grants and for how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.wire.h2.settings import Limits

__all__ = ["ServerLimits"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of an RpcServer.

    `keepalive_interval_s` without a byte from the client, the server pings; no answer within
    `keepalive_timeout_s` closes. Clients may ping every `keepalive_min_time_s` while a call is
    open, every two hours otherwise (unless `keepalive_without_calls`).
    `handshake_timeout_s` bounds TLS, preface and first request; `partial_timeout_s` a frame or an
    HTTP/1.1 request that has begun; `stall_timeout_s` a socket that takes no bytes;
    `idle_timeout_s` an HTTP/1.1 connection between requests.
    `socket_buffer_bytes` is queued in the transport before senders wait; a client that reads
    nothing and still makes us answer is cut off at `control_buffer_bytes` beyond it.
    `partial_request_bytes` bounds what incomplete requests and unread messages of one connection
    hold together.
    """

    http2: Limits = field(default=Limits())
    receive_message_bytes: int = 3 * _MIB // 2 + 512 * 1024
    http_body_bytes: int = 2 * _MIB
    keepalive_interval_s: float = 7200.0
    keepalive_timeout_s: float = 20.0
    keepalive_min_time_s: float = 5.0
    keepalive_without_calls: bool = False
    handshake_timeout_s: float = 10.0
    partial_timeout_s: float = 30.0
    stall_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    socket_buffer_bytes: int = 256 * 1024
    control_buffer_bytes: int = _MIB
    partial_request_bytes: int = 128 * _MIB
