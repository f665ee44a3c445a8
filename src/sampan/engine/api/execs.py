"""`/exec` of the Docker Engine API: further commands in running containers."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sampan.base.errors import InvalidError, SampanError
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.api.splice import splice, stream_kind
from sampan.engine.daemon.core.bodies import EXEC_CREATE, EXEC_START
from sampan.engine.daemon.core.detach import parse_keys
from sampan.engine.daemon.core.refusals import exec_refusal
from sampan.engine.daemon.shell.engine import Engine
from sampan.loop.rest import RawStream, Response

__all__ = ["ExecRoutes"]


class ExecRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("POST", "/containers/{id}/exec", self._create),
            Route("POST", "/exec/{id}/start", self._start),
            Route("POST", "/exec/{id}/resize", self._resize),
            Route("GET", "/exec/{id}/json", self._inspect),
        )

    async def _create(self, call: Call) -> Response:
        config = await call.body(EXEC_CREATE)
        if not config.get("Cmd"):
            raise InvalidError("No exec command specified")
        container = self._engine.find(call.values["id"])
        self._engine.sessions.ready(container)
        try:
            parse_keys(config.get("DetachKeys") or "")
        except InvalidError as error:
            raise InvalidError(str(error).replace("detach keys", "escape keys")) from None
        session = self._engine.sessions.create(container, config)
        return json_response({"Id": session.id}, 201)

    async def _start(self, call: Call) -> Response | None:
        body = await call.body(EXEC_START)
        exec_id = call.values["id"]
        container, session = self._engine.sessions.find(exec_id)
        tty = bool(body.get("Tty", session.config.get("Tty")))
        size = body.get("ConsoleSize") or session.config.get("ConsoleSize")
        shape = (int(size[1]), int(size[0])) if size and all(size) else None
        if body.get("Detach"):
            await self._engine.sessions.start(exec_id, detach=True, tty=tty, size=shape)
            return Response(200)
        self._engine.sessions.check(exec_id)
        raw = await call.request.hijack((("Content-Type", stream_kind(tty, call.version)),))
        try:
            stream = await self._engine.sessions.start(exec_id, detach=False, tty=tty, size=shape)
        except SampanError as error:
            _tell(raw, error, tty)
        else:
            assert stream is not None
            keys = parse_keys(session.config.get("DetachKeys") or "")
            told = {"execID": exec_id}
            await splice(
                raw,
                stream,
                keys if tty and session.config.get("AttachStdin") else None,
                lambda: self._engine.publish(container, "exec_detach", told),
            )
        raw.close()
        return None

    async def _resize(self, call: Call) -> Response:
        height, width = call.required_number("h"), call.required_number("w")
        container, session = self._engine.sessions.find(call.values["id"])
        if container.shim is not None and session.running:
            await container.shim.resize(width, height, session.id)
        return Response(200)

    async def _inspect(self, call: Call) -> Response:
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
                    **({"user": config["User"]} if config.get("User") else {}),
                },
                "OpenStdin": bool(config.get("AttachStdin")),
                "OpenStderr": bool(config.get("AttachStderr")),
                "OpenStdout": bool(config.get("AttachStdout")),
                "CanRemove": not session.running,
                "ContainerID": container.id,
                "DetachKeys": config.get("DetachKeys") or "",
                "Pid": session.pid,
            }
        )


def _tell(raw: RawStream, error: Exception, tty: bool) -> None:
    """Say on a connection that is a stream already why nothing runs; the code is inspected."""
    text = f"{exec_refusal(str(error))}\r\n".encode()
    raw.write(text if tty else struct.pack(">BxxxI", 1, len(text)) + text)
    raw.write_eof()
