"""Counters of a server: plain integers, cheap enough for the hot path."""

from __future__ import annotations

from sampan.wire.grpc.status import Code

__all__ = ["MethodStats", "RpcStats"]


class MethodStats:
    """One method's counters. `handled[code]` counts finished calls by status."""

    __slots__ = ("_received", "_sent", "handled", "path", "started", "streaming")

    def __init__(self, path: str, streaming: bool) -> None:
        self.path = path
        self.streaming = streaming
        self.started = 0
        self.handled = [0] * len(Code)
        self._received = 0
        self._sent = 0

    @property
    def active(self) -> int:
        """Calls that have started and not finished."""
        return self.started - sum(self.handled)

    @property
    def msg_received(self) -> int:
        """Request messages; a unary call is counted by its start."""
        return self._received if self.streaming else self.started

    @property
    def msg_sent(self) -> int:
        """Response messages; a unary call is counted by its success."""
        return self._sent if self.streaming else self.handled[0]

    def count_received(self, messages: int) -> None:
        """Count messages of a streaming call."""
        self._received += messages

    def count_sent(self, messages: int = 1) -> None:
        """Count messages of a streaming call."""
        self._sent += messages


class RpcStats:
    """All counters. Calls to methods that do not exist share the entry of the empty path."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "connections_opened",
        "faults",
        "http_requests",
        "methods",
        "open_connections",
    )

    def __init__(self) -> None:
        self.methods: dict[str, MethodStats] = {}
        self.bytes_received = 0
        self.bytes_sent = 0
        self.connections_opened = 0
        self.open_connections = 0
        self.http_requests = 0
        # HTTP/2 error code name -> connections ended with it by us.
        self.faults: dict[str, int] = {}

    def method(self, path: str, streaming: bool) -> MethodStats:
        """Return the counters of `path`, made on first use."""
        entry = self.methods.get(path)
        if entry is None:
            entry = self.methods[path] = MethodStats(path, streaming)
        return entry
