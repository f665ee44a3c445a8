"""The daemon's handle on one shim: requests, answers and events over sequenced packets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.base.errors import UnavailableError
from sampan.engine.runtime.shell.launch import LaunchError
from sampan.engine.shim.shim import EXIT_FILE, SOCKET_FILE

__all__ = ["ExitRecord", "ShimHandle", "reattach"]

_MESSAGE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How a container ended; `finished_at` is RFC 3339 with nanoseconds."""

    exit_code: int
    oom_killed: bool
    finished_at: str


class ShimHandle:
    """A connection to a shim. It is lost when the shim goes; `exited` tells how that came."""

    def __init__(self, control: socket.socket, directory: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._control = control
        self._directory = directory
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._execs: dict[str, asyncio.Future[int]] = {}
        self._started: asyncio.Future[None] = self._loop.create_future()
        self.exited: asyncio.Future[ExitRecord] = self._loop.create_future()
        self.pid = 0
        self.started_at = ""
        self._oom_seen = False
        self._oom: Callable[[], None] | None = None
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._readable)

    async def started(self) -> None:
        """Wait until the program runs; raises LaunchError or UnavailableError when it does not."""
        await self._started

    def _readable(self) -> None:
        while True:
            try:
                message = self._control.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._lost()
                return
            self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "reply" in message:
            future = self._answers.pop(message["reply"], None)
            if future is not None and not future.done():
                future.set_result(message)
            return
        match message["event"]:
            case "started":
                self.pid, self.started_at = message["pid"], message["at"]
                self._settle_start(None)
            case "failed":
                self._settle_start(LaunchError(message["message"], message["exit_code"]))
            case "oom":
                self._short_of_memory()
            case "state":
                self.pid, self.started_at = message["pid"], message.get("at", "")
                if message.get("oom"):
                    self._short_of_memory()
                self._settle_start(None)
                if message["exit"] is not None:
                    self._settle_exit(message["exit"])
            case "exit":
                self._settle_exit(message)
            case "exec_exit":
                waiting = self._execs.pop(message["exec_id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message["exit_code"])

    def watch_memory(self, call: Callable[[], None], *, told: bool) -> None:
        """Call when the container's memory runs out; at once when it has, unless that is told."""
        self._oom = call
        if self._oom_seen and not told:
            call()

    def _short_of_memory(self) -> None:
        self._oom_seen = True
        if self._oom is not None:
            self._oom()

    def _settle_start(self, error: Exception | None) -> None:
        if not self._started.done():
            if error is None:
                self._started.set_result(None)
            else:
                self._started.set_exception(error)

    def _settle_exit(self, message: dict[str, Any]) -> None:
        if not self.exited.done():
            record = ExitRecord(message["exit_code"], message["oom_killed"], message["finished_at"])
            self.exited.set_result(record)

    def _lost(self) -> None:
        """The shim is gone: with a record it had done its work, without one it was killed."""
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        gone = UnavailableError("the container's shim is gone")
        self._settle_start(gone)
        if not self.exited.done():
            record = read_exit(self._directory)
            self.exited.set_result(record or ExitRecord(137, False, ""))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(gone)
        for waiting in self._execs.values():
            if not waiting.done():
                waiting.set_result(137)

    async def _request(self, op: str, fds: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        self._number += 1
        message = json.dumps({"op": op, "number": self._number, **fields}).encode()
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._answers[self._number] = answer
        try:
            socket.send_fds(self._control, [message], list(fds))
        except OSError as error:
            self._answers.pop(self._number, None)
            raise UnavailableError(f"the container's shim is gone: {error}") from None
        found = await answer
        if "error" in found:
            raise LaunchError(found["error"], found["exit_code"])
        return found

    async def kill(self, number: int, *, everybody: bool = False) -> None:
        """Send a signal to the first process, or to all."""
        await self._request("kill", signal=number, all=everybody)

    async def resize(self, width: int, height: int, exec_id: str | None = None) -> None:
        """Change a terminal's size."""
        await self._request("resize", width=width, height=height, exec_id=exec_id)

    async def attach(
        self, sock: socket.socket, wants: dict[str, bool], exec_id: str | None = None
    ) -> None:
        """Hand over one end of a stream socket; the other end gets frames, or raw terminal data."""
        try:
            await self._request("attach", [sock.fileno()], exec_id=exec_id, **wants)
        finally:
            sock.close()

    async def exec(
        self,
        exec_id: str,
        process: dict[str, Any],
        *,
        stdin: bool,
        privileged: bool = False,
        client: tuple[socket.socket, dict[str, bool]] | None = None,
        exited: Callable[[int], None],
    ) -> int:
        """Start a further process; returns its pid. `exited` is called with its exit code."""
        waiting: asyncio.Future[int] = self._loop.create_future()
        self._execs[exec_id] = waiting
        wants = client[1] if client else {"stdin": False, "stdout": False, "stderr": False}
        fields = {**wants, "stdin": stdin}
        try:
            answer = await self._request(
                "exec",
                [client[0].fileno()] if client else [],
                exec_id=exec_id,
                process=process,
                privileged=privileged,
                **fields,
            )
        except BaseException:
            self._execs.pop(exec_id, None)
            raise
        finally:
            if client:
                client[0].close()
        waiting.add_done_callback(lambda done: exited(done.result()))
        return int(answer["pid"])

    async def reopen_log(self) -> None:
        """Let the shim open its log file anew."""
        await self._request("reopen_log")

    async def dismiss(self) -> None:
        """Let a shim go whose container has ended."""
        try:
            await self._request("dismiss")
        except UnavailableError:
            pass


def read_exit(directory: Path) -> ExitRecord | None:
    """Return the record that a shim has left, None without one."""
    try:
        found = json.loads((directory / EXIT_FILE).read_text())
    except (OSError, ValueError):
        return None
    return ExitRecord(found["exit_code"], found["oom_killed"], found["finished_at"])


def _connect(control: socket.socket, directory: Path) -> None:
    """Connect by the directory's descriptor: a full path may exceed what an address holds."""
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        control.connect(f"/proc/self/fd/{here}/{SOCKET_FILE}")
    finally:
        os.close(here)


async def reattach(directory: Path) -> ShimHandle | ExitRecord | None:
    """Find a container again after the daemon's restart: its shim, how it ended, or nothing."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _connect(control, directory)
    except OSError:
        control.close()
        return read_exit(directory)
    handle = ShimHandle(control, directory)
    try:
        await handle.started()
    except UnavailableError:
        return read_exit(directory)
    return handle
