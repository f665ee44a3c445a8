"""Talking to containers: attaching to the first process, running further ones."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from sampan.base.errors import ConflictError, NotFoundError
from sampan.engine.daemon.core.translate import environment, overlaid
from sampan.engine.daemon.shell.container import Container, ExecSession
from sampan.engine.daemon.shell.streams import ShimStream, stream_pair
from sampan.engine.process.shim import ShimHandle
from sampan.engine.runtime.core.capability import ALL, tweak

__all__ = ["Sessions"]


_REMEMBERED: Final = 256
"""Commands of one container, above which those that have ended are forgotten."""


class Sessions:
    """Attachments and exec sessions of all containers."""

    def __init__(self, publish: Callable[[Container, str, Mapping[str, str]], None]) -> None:
        self._publish = publish
        self._execs: dict[str, tuple[Container, ExecSession]] = {}

    async def attach(
        self, container: Container, *, stdin: bool, stdout: bool, stderr: bool
    ) -> ShimStream:
        """Attach to a container's first process, or to the one that will be started."""
        if container.record.state.status == "paused":
            raise ConflictError(
                f"container {container.id} is paused, unpause the container before attach"
            )
        ours, theirs = stream_pair()
        wants = {"stdin": stdin and container.record.config["OpenStdin"]}
        wants |= {"stdout": stdout, "stderr": stderr}
        if container.shim is not None:
            await container.shim.attach(theirs, wants)
        else:
            container.waiting_clients.append((theirs, wants))
        self._publish(container, "attach", {})
        return ours

    def ready(self, container: Container) -> None:
        """Raise ConflictError unless commands can run in a container now."""
        shim_of(container)
        if container.record.state.status == "paused":
            raise ConflictError(
                f"Container {container.record.name} is paused, unpause the container before exec"
            )

    def create(self, container: Container, config: Mapping[str, Any]) -> ExecSession:
        """Prepare a command; ConflictError when the container does not run."""
        self.ready(container)
        if len(container.execs) >= _REMEMBERED:
            # Not the latest: their clients may still ask how they ended.
            for one in list(container.execs.values())[: -_REMEMBERED // 2]:
                if one.ended:
                    self.drop(container, one)
        session = ExecSession(secrets.token_hex(32), container.id, dict(config))
        container.execs[session.id] = session
        self._execs[session.id] = (container, session)
        self._publish(container, f"exec_create: {_shown(config)}", {"execID": session.id})
        return session

    def find(self, exec_id: str) -> tuple[Container, ExecSession]:
        """Return a session and its container; NotFoundError without it."""
        found = self._execs.get(exec_id)
        if found is None:
            raise NotFoundError(f"No such exec instance: {exec_id}")
        return found

    def check(self, exec_id: str) -> None:
        """Raise ConflictError unless the session can be started now."""
        container, session = self.find(exec_id)
        if session.started:
            raise ConflictError(f"Error: Exec command {exec_id} has already run")
        shim_of(container)

    def forget(self, container: Container) -> None:
        """Forget the sessions of a container that goes."""
        for exec_id in container.execs:
            self._execs.pop(exec_id, None)

    def drop(self, container: Container, session: ExecSession) -> None:
        """Forget one session that nobody will ask for again."""
        self._execs.pop(session.id, None)
        container.execs.pop(session.id, None)

    async def start(
        self,
        exec_id: str,
        *,
        detach: bool,
        tty: bool,
        size: tuple[int, int] | None,
        exited: Callable[[int], None] | None = None,
    ) -> ShimStream | None:
        """Run the command; returns its stream unless it is detached."""
        self.check(exec_id)
        container, session = self.find(exec_id)
        shim = shim_of(container)
        session.started = True
        config = session.config
        stream, theirs = (None, None) if detach else stream_pair()
        wants = {
            "stdin": bool(config.get("AttachStdin")),
            "stdout": bool(config.get("AttachStdout")),
            "stderr": bool(config.get("AttachStderr")),
        }

        def done(code: int) -> None:
            session.running, session.exit_code = False, code
            self._publish(container, "exec_die", {"execID": exec_id, "exitCode": str(code)})
            if exited is not None:
                exited(code)

        session.running = True
        self._publish(container, f"exec_start: {_shown(session.config)}", {"execID": exec_id})
        try:
            session.pid = await shim.exec(
                exec_id,
                self._process(container, config, tty, size),
                stdin=wants["stdin"],
                privileged=bool(config.get("Privileged")),
                client=(theirs, wants) if theirs is not None else None,
                exited=done,
            )
        except BaseException as error:
            session.running = False
            session.exit_code = getattr(error, "exit_code", 126)
            if stream is not None:
                stream.close()
            raise
        return stream

    def _process(
        self,
        container: Container,
        config: Mapping[str, Any],
        tty: bool,
        size: tuple[int, int] | None,
    ) -> dict[str, Any]:
        record = container.record
        host = record.host_config
        privileged = bool(config.get("Privileged") or host["Privileged"])
        names = (
            list(ALL) if privileged else list(tweak(host["CapAdd"] or (), host["CapDrop"] or ()))
        )
        own = list(config.get("Env") or ())
        changed = {entry.partition("=")[0] for entry in own}
        inherited = [e for e in environment(record, tty) if e.partition("=")[0] not in changed]
        process: dict[str, Any] = {
            "args": list(config["Cmd"]),
            "env": [*inherited, *own],
            "cwd": config.get("WorkingDir") or record.config["WorkingDir"] or "/",
            "terminal": tty,
            "user": {
                "username": config.get("User") or record.config["User"] or "0",
                "x-groups": list(host["GroupAdd"] or ()),
            },
            "capabilities": {"bounding": names, "effective": names, "permitted": names},
        }
        if size is not None:
            process["consoleSize"] = {"width": size[0], "height": size[1]}
        return overlaid(process, record.spec_changes.get("process") or {})

    async def probe(
        self, container: Container, command: list[str], timeout_s: float
    ) -> tuple[int, str]:
        """Run a command and return its exit code and what it printed."""
        config = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        session = self.create(container, config)
        code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stream = await self.start(
            session.id, detach=False, tty=True, size=None, exited=code.set_result
        )
        assert stream is not None
        output = bytearray()
        try:
            while data := await stream.read():
                output += data[: max(0, 8192 - len(output))]
            return await code, output.decode(errors="replace")
        finally:
            stream.close()
            self.drop(container, session)


def _shown(config: Mapping[str, Any]) -> str:
    """Return a command as events tell it: without arguments a blank stays, as in Docker."""
    return f"{config['Cmd'][0]} {' '.join(config['Cmd'][1:])}"


def shim_of(container: Container) -> ShimHandle:
    """Return the shim of a running container; ConflictError in Docker's words without it."""
    if container.record.state.status == "restarting":
        raise ConflictError(
            f"Container {container.id} is restarting, wait until the container is running"
        )
    if container.shim is None or not container.record.state.running:
        raise ConflictError(f"container {container.id} is not running")
    return container.shim
