"""Commands in containers: run to their end, or joined to a client's streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import ConflictError, InvalidError, SampanError
from sampan.engine.cri.core.frames import FrameReader
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.streaming.remote import (
    Remote,
    Size,
    Wanted,
    exit_status,
    failure_status,
)
from sampan.engine.daemon.shell.container import Container, ExecSession
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.sessions import shim_of
from sampan.engine.daemon.shell.streams import ShimStream
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Execution", "Finished"]

_OUTPUT_BYTES: Final = (16 << 20) - (64 << 10)
"""What the answer of one command may hold: kubelets take messages of 16 MiB."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class _Command:
    """A started command: its stream, its end, and how to make an end of it."""

    def __init__(self, stream: ShimStream, code: asyncio.Future[int], pid: int) -> None:
        self.stream = stream
        self.code = code
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = -1

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self._pidfd >= 0 and not self.code.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go."""
        self.stream.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Execution:
    """Runs commands in the containers of pods."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue

    def running(self, wanted: str) -> Container:
        """Return a container that runs; FAILED_PRECONDITION when it does not."""
        container = self._catalogue.container(wanted)
        try:
            shim_of(container)
        except ConflictError as error:
            raise RpcError(Code.FAILED_PRECONDITION, str(error)) from None
        return container

    async def run(self, wanted: str, words: Sequence[str], timeout_s: int) -> Finished:
        """Run a command to its end; DEADLINE_EXCEEDED when it takes longer than `timeout_s`.

        Of more output than an answer can hold the beginning is returned.
        """
        if not words:
            raise InvalidError("cmd: must not be empty")
        if timeout_s < 0:
            raise InvalidError("timeout: must not be negative")
        container = self.running(wanted)
        config = {"Cmd": list(words), "AttachStdout": True, "AttachStderr": True}
        session = self._engine.sessions.create(container, config)
        command: _Command | None = None
        try:
            async with asyncio.timeout(timeout_s or None):
                command = await self._start(session)
                return await _collect(command)
        except TimeoutError:
            raise RpcError(
                Code.DEADLINE_EXCEEDED, f"timeout {timeout_s}s exceeded: context deadline exceeded"
            ) from None
        finally:
            if command is not None:
                command.kill()
                command.close()
            self._engine.sessions.drop(container, session)

    async def _start(
        self, session: ExecSession, *, tty: bool = False, size: Size | None = None
    ) -> _Command:
        code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stream = await self._engine.sessions.start(
            session.id,
            detach=False,
            tty=tty,
            size=(size.width, size.height) if size is not None else None,
            exited=code.set_result,
        )
        assert stream is not None
        return _Command(stream, code, session.pid)

    async def exec(
        self, remote: Remote, container: Container, words: Sequence[str], wanted: Wanted
    ) -> None:
        """Run a command with a client's streams; it ends when the client goes."""
        config = {
            "Cmd": list(words),
            "AttachStdin": wanted.stdin,
            "AttachStdout": wanted.stdout,
            "AttachStderr": wanted.stderr or wanted.tty,
        }
        sessions = self._engine.sessions
        try:
            session = sessions.create(container, config)
            size = await remote.first_size() if wanted.tty else None
            command = await self._start(session, tty=wanted.tty, size=size)
        except SampanError as error:
            await remote.finish(failure_status(str(error)))
            return
        try:
            await remote.on_resize(lambda size: _resize(container, size, session.id))
            if await _join(remote, command.stream, stdin=wanted.stdin, raw=wanted.tty):
                await remote.finish(exit_status(await command.code))
        finally:
            command.kill()
            command.close()
            sessions.drop(container, session)

    async def attach(self, remote: Remote, container: Container, wanted: Wanted) -> None:
        """Join a client to a container's first process until one of them goes."""
        try:
            shim_of(container)
            stream = await self._engine.sessions.attach(
                container,
                stdin=wanted.stdin,
                stdout=wanted.stdout,
                stderr=wanted.stderr or wanted.tty,
            )
        except SampanError as error:
            await remote.finish(failure_status(str(error)))
            return
        raw = bool(container.record.config["Tty"])
        try:
            await remote.on_resize(lambda size: _resize(container, size, None))
            if await _join(remote, stream, stdin=wanted.stdin, raw=raw):
                await remote.finish(exit_status(0))
        finally:
            stream.close()


async def _collect(command: _Command) -> Finished:
    reader, room = FrameReader(), _OUTPUT_BYTES
    kept: dict[int, list[bytes]] = {1: [], 2: []}
    while data := await command.stream.read():
        for number, piece in reader.feed(data):
            kept[number].append(piece[:room])
            room -= min(room, len(piece))
    return Finished(b"".join(kept[1]), b"".join(kept[2]), await command.code)


async def _resize(container: Container, size: Size, exec_id: str | None) -> None:
    with contextlib.suppress(SampanError):  # it has ended in between
        await shim_of(container).resize(size.width, size.height, exec_id)


async def _join(remote: Remote, stream: ShimStream, *, stdin: bool, raw: bool) -> bool:
    """Carry bytes both ways until the output ends; False when the client has gone before."""
    output = asyncio.create_task(_carry_out(remote, stream, raw))
    lost = asyncio.create_task(remote.lost())
    tasks = [output, lost]
    if stdin:
        tasks.append(asyncio.create_task(_carry_in(remote, stream)))
    try:
        await asyncio.wait({output, lost}, return_when=asyncio.FIRST_COMPLETED)
        return output.done() and not output.cancelled() and output.exception() is None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry_in(remote: Remote, stream: ShimStream) -> None:
    while data := await remote.read_stdin():
        await stream.write(data)
    stream.end_input()


async def _carry_out(remote: Remote, stream: ShimStream, raw: bool) -> None:
    reader = FrameReader()
    while data := await stream.read():
        for number, piece in [(1, data)] if raw else reader.feed(data):
            await (remote.write_stdout if number == 1 else remote.write_stderr)(piece)
