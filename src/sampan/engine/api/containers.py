"""`/containers` and `/exec` of the Docker Engine API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, SampanError, UnsupportedError
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.bodies import CREATE, EXEC_CREATE, EXEC_START, UPDATE
from sampan.engine.daemon.core.filters import parse_filters
from sampan.engine.daemon.core.moment import parse_moment
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.streams import ShimStream
from sampan.engine.process.logs import LogEntry, LogQuery, read_logs
from sampan.loop.rest import RawStream, Response

__all__ = ["ContainerRoutes"]

_RAW: Final = "application/vnd.docker.raw-stream"
_MULTIPLEXED: Final = "application/vnd.docker.multiplexed-stream"


class ContainerRoutes:
    """The handlers, each a few lines over the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/containers/json", self._list),
            Route("POST", "/containers/create", self._create),
            Route("POST", "/containers/prune", self._prune),
            Route("GET", "/containers/{id}/json", self._inspect),
            Route("GET", "/containers/{id}/top", self._top),
            Route("GET", "/containers/{id}/logs", self._logs),
            Route("GET", "/containers/{id}/changes", self._changes),
            Route("GET", "/containers/{id}/stats", self._stats),
            Route("POST", "/containers/{id}/resize", self._resize),
            Route("POST", "/containers/{id}/start", self._start),
            Route("POST", "/containers/{id}/stop", self._stop),
            Route("POST", "/containers/{id}/restart", self._restart),
            Route("POST", "/containers/{id}/kill", self._kill),
            Route("POST", "/containers/{id}/update", self._update),
            Route("POST", "/containers/{id}/rename", self._rename),
            Route("POST", "/containers/{id}/pause", self._pause),
            Route("POST", "/containers/{id}/unpause", self._unpause),
            Route("POST", "/containers/{id}/attach", self._attach),
            Route("POST", "/containers/{id}/wait", self._wait),
            Route("DELETE", "/containers/{id}", self._remove),
            Route("POST", "/containers/{id}/exec", self._exec_create),
            Route("POST", "/exec/{id}/start", self._exec_start),
            Route("POST", "/exec/{id}/resize", self._exec_resize),
            Route("GET", "/exec/{id}/json", self._exec_inspect),
        )

    def _find(self, call: Call) -> Container:
        return self._engine.find(call.values["id"])

    async def _list(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        limit = call.number("limit") or 0
        everything, size = call.flag("all"), call.flag("size")
        found = self._engine.listing.summaries(
            filters, everything=everything, limit=limit, size=size
        )
        return json_response(found)

    async def _create(self, call: Call) -> Response:
        body = await call.body(CREATE, empty=False)
        if not body.keys() - {"HostConfig", "NetworkingConfig"}:
            raise InvalidError("config cannot be empty in order to create a container")
        name, platform = call.text("name"), call.text("platform")
        id_, warnings = await self._engine.creation.create(name, body, platform)
        return json_response({"Id": id_, "Warnings": warnings}, 201)

    async def _inspect(self, call: Call) -> Response:
        return json_response(self._engine.listing.inspect(self._find(call), size=call.flag("size")))

    async def _start(self, call: Call) -> Response:
        started = await self._engine.lifecycle.start(self._find(call))
        return Response(204 if started else 304)

    async def _stop(self, call: Call) -> Response:
        container = self._find(call)
        stopped = await self._engine.lifecycle.stop(
            container, call.text("signal"), call.number("t")
        )
        return Response(204 if stopped else 304)

    async def _restart(self, call: Call) -> Response:
        container = self._find(call)
        await self._engine.lifecycle.restart(container, call.text("signal"), call.number("t"))
        return Response(204)

    async def _kill(self, call: Call) -> Response:
        await self._engine.lifecycle.kill(self._find(call), call.text("signal"))
        return Response(204)

    async def _pause(self, call: Call) -> Response:
        await self._engine.lifecycle.pause(self._find(call))
        return Response(204)

    async def _unpause(self, call: Call) -> Response:
        await self._engine.lifecycle.unpause(self._find(call))
        return Response(204)

    async def _rename(self, call: Call) -> Response:
        self._engine.rename(self._find(call), call.text("name"))
        return Response(204)

    async def _update(self, call: Call) -> Response:
        warnings = await self._engine.resources.update(self._find(call), await call.body(UPDATE))
        return json_response({"Warnings": warnings})

    async def _remove(self, call: Call) -> Response:
        if call.flag("link"):
            raise UnsupportedError("links are not supported")
        await self._engine.removal.remove(
            self._find(call), force=call.flag("force"), volumes=call.flag("v")
        )
        return Response(204)

    async def _prune(self, call: Call) -> Response:
        gone, freed = await self._engine.removal.prune(parse_filters(call.text("filters")))
        return json_response({"ContainersDeleted": gone or None, "SpaceReclaimed": freed})

    async def _top(self, call: Call) -> Response:
        words = call.text("ps_args", "-ef")
        return json_response(await self._engine.resources.top(self._find(call), words))

    async def _changes(self, call: Call) -> Response:
        record = self._find(call).record
        found = self._engine.images.snapshots.changes(record.id, record.diff_ids)
        return json_response([{"Path": one.path, "Kind": one.kind} for one in found] or None)

    async def _stats(self, call: Call) -> Response:
        container = self._find(call)
        samples = self._engine.resources.stats(
            container, stream=call.flag("stream", True), one_shot=call.flag("one-shot")
        )
        return Response(200, _json_lines(samples), (("Content-Type", "application/json"),))

    async def _resize(self, call: Call) -> Response:
        width, height = call.number("w") or 0, call.number("h") or 0
        shim = self._find(call).shim
        if shim is None:
            raise ConflictError(f"container {call.values['id']} is not running")
        await shim.resize(width, height)
        return Response(200)

    async def _wait(self, call: Call) -> Response:
        container = self._find(call)
        future = self._engine.lifecycle.expect(container, call.text("condition"))

        async def answer() -> AsyncIterator[bytes]:
            # The headers go out at once: they tell the client that the wait has begun.
            yield b""
            code = await asyncio.shield(future)
            document: dict[str, Any] = {"StatusCode": code}
            if container.record.state.error and code >= 125:
                document["Error"] = {"Message": container.record.state.error}
            yield json.dumps(document).encode() + b"\n"

        return Response(200, answer(), (("Content-Type", "application/json"),))

    async def _logs(self, call: Call) -> Response:
        container = self._find(call)
        query = _log_query(call)
        if not (query.stdout or query.stderr):
            raise InvalidError("Bad parameters: you must choose at least one stream")
        if container.record.host_config["LogConfig"]["Type"] == "none":
            raise UnsupportedError("configured logging driver does not support reading")
        entries = read_logs(container.log_path, query, lambda: container.record.state.running)
        tty = container.record.config["Tty"]
        body = _log_body(entries, call.flag("timestamps"), call.flag("details"), tty)
        return Response(200, body, (("Content-Type", _kind(tty, call.version)),))

    async def _attach(self, call: Call) -> Response | None:
        container = self._find(call)
        tty = container.record.config["Tty"]
        stream = None
        if call.flag("stream"):
            stream = await self._engine.sessions.attach(
                container,
                stdin=call.flag("stdin"),
                stdout=call.flag("stdout"),
                stderr=call.flag("stderr"),
            )
        raw = await call.request.hijack((("Content-Type", _kind(tty, call.version)),))
        if call.flag("logs"):
            query = LogQuery(stdout=call.flag("stdout"), stderr=call.flag("stderr"))
            entries = read_logs(container.log_path, query, lambda: False)
            async for piece in _log_body(entries, False, False, tty):
                raw.write(piece)
        if stream is not None:
            await _splice(raw, stream)
        raw.close()
        return None

    async def _exec_create(self, call: Call) -> Response:
        config = await call.body(EXEC_CREATE)
        if not config.get("Cmd"):
            raise InvalidError("No exec command specified")
        session = self._engine.sessions.create(self._find(call), config)
        return json_response({"Id": session.id}, 201)

    async def _exec_start(self, call: Call) -> Response | None:
        body = await call.body(EXEC_START)
        exec_id = call.values["id"]
        _, session = self._engine.sessions.find(exec_id)
        tty = bool(body.get("Tty", session.config.get("Tty")))
        size = body.get("ConsoleSize") or session.config.get("ConsoleSize")
        shape = (int(size[1]), int(size[0])) if size and all(size) else None
        if body.get("Detach"):
            await self._engine.sessions.start(exec_id, detach=True, tty=tty, size=shape)
            return Response(200)
        self._engine.sessions.check(exec_id)
        raw = await call.request.hijack((("Content-Type", _kind(tty, call.version)),))
        try:
            stream = await self._engine.sessions.start(exec_id, detach=False, tty=tty, size=shape)
        except SampanError as error:
            # The connection is a stream already: the reason goes out on it, the code by inspection.
            text = (
                "OCI runtime exec failed: exec failed: unable to start container process: "
                f"{error}: unknown\r\n"
            ).encode()
            raw.write(text if tty else struct.pack(">BxxxI", 1, len(text)) + text)
            raw.write_eof()
        else:
            assert stream is not None
            await _splice(raw, stream)
        raw.close()
        return None

    async def _exec_resize(self, call: Call) -> Response:
        container, session = self._engine.sessions.find(call.values["id"])
        if container.shim is not None and session.running:
            width, height = call.number("w") or 0, call.number("h") or 0
            await container.shim.resize(width, height, session.id)
        return Response(200)

    async def _exec_inspect(self, call: Call) -> Response:
        container, session = self._engine.sessions.find(call.values["id"])
        config = session.config
        return json_response(
            {
                "ID": session.id,
                "Running": session.running,
                "ExitCode": session.exit_code,
                "ProcessConfig": {
                    "tty": bool(config.get("Tty")),
                    "entrypoint": config["Cmd"][0],
                    "arguments": config["Cmd"][1:],
                    "privileged": bool(config.get("Privileged")),
                    "user": config.get("User", ""),
                },
                "OpenStdin": bool(config.get("AttachStdin")),
                "OpenStderr": bool(config.get("AttachStderr")),
                "OpenStdout": bool(config.get("AttachStdout")),
                "CanRemove": not session.running,
                "ContainerID": container.id,
                "DetachKeys": "",
                "Pid": session.pid,
            }
        )


def _kind(tty: bool, version: tuple[int, int]) -> str:
    return _RAW if tty or version < (1, 42) else _MULTIPLEXED


async def _splice(raw: RawStream, stream: ShimStream) -> None:
    """Copy both ways until the output ends; the client's end of input is passed on."""

    async def input_() -> None:
        while data := await raw.read():
            await stream.write(data)
        stream.end_input()

    copying = asyncio.ensure_future(input_())
    try:
        while data := await stream.read():
            raw.write(data)
            await raw.drain()
        raw.write_eof()
    except ConnectionError:
        pass
    finally:
        copying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copying
        stream.close()


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
    if details and entry.attributes:
        words = ",".join(f"{key}={value}" for key, value in sorted(entry.attributes.items()))
        line = words.encode() + b" " + line
    if timestamps:
        line = entry.time.encode() + b" " + line
    if tty:
        return line
    return struct.pack(">BxxxI", 1 if entry.stream == "stdout" else 2, len(line)) + line


async def _json_lines(documents: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for document in documents:
        yield json.dumps(document).encode() + b"\n"
