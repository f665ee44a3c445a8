"""Output and input of containers: attaching, by WebSocket too, and logs."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote_plus

from sampan.base.errors import ConflictError, InvalidError, UnsupportedError
from sampan.engine.api.routing import Call, Route
from sampan.engine.api.splice import splice, splice_websocket, stream_kind, upgrade_headers
from sampan.engine.daemon.core.detach import parse_keys
from sampan.engine.daemon.core.moment import parse_moment
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.streams import ShimStream
from sampan.engine.process.logs import LogEntry, LogQuery, read_logs
from sampan.loop.rest import RawStream, Response

__all__ = ["StreamRoutes"]


class StreamRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/containers/{id}/logs", self._logs),
            Route("POST", "/containers/{id}/attach", self._attach),
            Route("GET", "/containers/{id}/attach/ws", self._attach_websocket),
        )

    def _find(self, call: Call) -> Container:
        return self._engine.find(call.values["id"])

    async def _logs(self, call: Call) -> Response:
        query = _log_query(call)
        if not (query.stdout or query.stderr):
            raise InvalidError("Bad parameters: you must choose at least one stream")
        container = self._find(call)
        if container.record.host_config["LogConfig"]["Type"] == "none":
            raise UnsupportedError("configured logging driver does not support reading")
        entries = read_logs(container.log_path, query, lambda: container.record.state.running)
        tty = container.record.config["Tty"]
        body = _log_body(entries, call.flag("timestamps"), call.flag("details"), tty)
        return Response(200, body, (("Content-Type", stream_kind(tty, call.version)),))

    async def _attach(self, call: Call) -> Response | None:
        keys = parse_keys(call.text("detachKeys"))
        container = self._find(call)
        if container.record.state.status == "paused":
            raise ConflictError(
                f"container {container.record.name} is paused, unpause the container before attach"
            )
        tty = container.record.config["Tty"]
        stream = await self._stream(call, container) if call.flag("stream") else None
        raw = await call.request.hijack((("Content-Type", stream_kind(tty, call.version)),))
        if call.flag("logs"):
            await self._logged(call, container, raw)
        if stream is not None:
            await splice(
                raw,
                stream,
                keys if tty and call.flag("stdin") else None,
                lambda: self._engine.publish(container, "detach"),
            )
        raw.close()
        return None

    async def _stream(self, call: Call, container: Container, *, every: bool = False) -> ShimStream:
        return await self._engine.sessions.attach(
            container,
            stdin=every or call.flag("stdin"),
            stdout=every or call.flag("stdout"),
            stderr=every or call.flag("stderr"),
        )

    async def _logged(self, call: Call, container: Container, raw: RawStream) -> None:
        """Send what has been logged so far."""
        query = LogQuery(stdout=call.flag("stdout"), stderr=call.flag("stderr"))
        entries = read_logs(container.log_path, query, lambda: False)
        tty = container.record.config["Tty"]
        async for piece in _log_body(entries, False, False, tty):
            raw.write(piece)
            await raw.drain()

    async def _attach_websocket(self, call: Call) -> Response | None:
        container = self._find(call)
        parse_keys(call.text("detachKeys"))
        headers = upgrade_headers(call)
        # Before 1.42 all three streams were attached, whatever the client asked for.
        stream = await self._stream(call, container, every=call.version < (1, 42))
        raw = await call.request.hijack(headers)
        await splice_websocket(raw, stream, tty=container.record.config["Tty"])
        raw.close()
        return None


def _log_query(call: Call) -> LogQuery:
    tail = call.text("tail", "all")
    return LogQuery(
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        since=parse_moment(call.text("since")),
        until=parse_moment(call.text("until")),
        tail=int(tail) if tail.isdigit() else None,
        follow=call.flag("follow"),
    )


async def _log_body(
    batches: AsyncIterator[list[LogEntry]], timestamps: bool, details: bool, tty: bool
) -> AsyncIterator[bytes]:
    async for batch in batches:
        yield b"".join([_log_piece(entry, timestamps, details, tty) for entry in batch])


def _log_piece(entry: LogEntry, timestamps: bool, details: bool, tty: bool) -> bytes:
    line = entry.line
    if details:
        pairs = sorted(entry.attributes.items())
        words = ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs)
        line = words.encode() + b" " + line
    if timestamps:
        line = _nine_digits(entry.time).encode() + b" " + line
    if tty:
        return line
    return struct.pack(">BxxxI", 1 if entry.stream == "stdout" else 2, len(line)) + line


def _nine_digits(time: str) -> str:
    """Return a moment with all of its nanoseconds, as Docker shows them."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}Z" if time.endswith("Z") else time
