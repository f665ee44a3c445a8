"""Runs the services: starts them, waits for their health, starts them again, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sampan.up.core import life as lives
from sampan.up.core.life import Life
from sampan.up.core.lines import shown_safely
from sampan.up.core.services import Service
from sampan.up.shell.probe import is_ready

__all__ = ["Supervisor"]

_PROBE_S: Final = 0.05
_SETTLE_S: Final = 60.0
_LINE_BYTES: Final = 1 << 16
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

Said = Callable[[str, str], None]
"""Takes a service's name and a line that it has printed."""


class Supervisor:
    """`say` gets every line, `changed` is called when a service's state has changed."""

    def __init__(self, services: Sequence[Service], say: Said, changed: Callable[[], None]) -> None:
        self._say = say
        self._changed = changed
        self._running = {one.name: _Running(one, say, self._note) for one in services}
        self._settled = asyncio.Event()

    @property
    def lives(self) -> Mapping[str, Life]:
        """What state every service is in."""
        return {name: one.life for name, one in self._running.items()}

    @property
    def document(self) -> dict[str, Any]:
        """What stands in `status.json`."""
        return {
            name: {
                "state": one.life.state,
                "since": time.time() - (time.monotonic() - one.life.since_s),
                "pid": one.pid,
                "restarts": max(one.life.starts - 1, 0),
                "reason": one.life.reason,
                "endpoint": one.service.endpoint,
            }
            for name, one in self._running.items()
        }

    def start(self) -> None:
        """Start all of them at the same time: none needs another one to start."""
        for one in self._running.values():
            one.begin()

    async def settle(self) -> bool:
        """Wait until every service is ready or fails again and again; tells whether all work."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), _SETTLE_S)
        return all(life.state == "ready" for life in self.lives.values())

    async def stop(self) -> None:
        """End them, the last one first."""
        for one in reversed(self._running.values()):
            await one.end()

    def _note(self) -> None:
        if all(map(lives.is_settled, self.lives.values())):
            self._settled.set()
        self._changed()


class _Running:
    """One service and the task that looks after its process."""

    def __init__(self, service: Service, say: Said, note: Callable[[], None]) -> None:
        self.service = service
        self.life = Life()
        self._say = say
        self._note = note
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._last_line = ""

    @property
    def pid(self) -> int:
        """Its process, 0 without."""
        return self._process.pid if self._process is not None else 0

    def begin(self) -> None:
        """Look after it from now on."""
        self._task = asyncio.ensure_future(self._look_after())

    def _become(self, life: Life) -> None:
        changed = life.state != self.life.state
        self.life = life
        if changed:
            self._note()

    async def _look_after(self) -> None:
        while True:
            self._process = process = await self._spawn()
            self._become(lives.began(self.life, time.monotonic()))
            reading = asyncio.ensure_future(self._read(process))
            probing = asyncio.ensure_future(self._wait_ready())
            try:
                code = await process.wait()
                # What it said last tells why; children of it may hold the pipe for longer.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(reading), 0.5)
            finally:
                probing.cancel()
            self._process = None
            now_s = time.monotonic()
            if self.life.state == "stopping":
                self._become(lives.stopped(self.life, now_s))
                return
            self._become(lives.exited(self.life, now_s, self._reason(code)))
            delay_s = lives.restart_delay_s(self.life)
            again = "crashes again and again" if self.life.state == "crash loop" else "ended"
            self._say(
                "up",
                f"{self.service.name} {again}: {self.life.reason}; next start in {delay_s:g} s",
            )
            await asyncio.sleep(delay_s)

    def _reason(self, code: int) -> str:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"{self._last_line} ({how})" if self._last_line else how

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._last_line = ""
        parent = os.getpid()

        def end_with_parent() -> None:
            # A supervisor that is killed leaves no service that nobody looks after.
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sampan.cli.main",
            *self.service.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for the supervisor, which ends the services in their order.
            start_new_session=True,
            limit=_LINE_BYTES,
            preexec_fn=end_with_parent,
        )

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                line = b"(a line that is too long)"
            if not line:
                return
            text = shown_safely(line)
            if text:
                self._last_line = text
                self._say(self.service.name, text)

    async def _wait_ready(self) -> None:
        # Only the service knows when it is ready, and it is asked from outside.
        while not await is_ready(self.service):  # noqa: ASYNC110
            await asyncio.sleep(_PROBE_S)
        if self.life.state == "starting":
            self._become(lives.became_ready(self.life, time.monotonic()))

    async def end(self) -> None:
        """Ask it to end, and make it when its time is over."""
        task, process = self._task, self._process
        if task is None:
            return
        self._become(lives.stopping(self.life, time.monotonic()))
        if process is None:
            task.cancel()
            self._become(lives.stopped(self.life, time.monotonic()))
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(task), self.service.stop_timeout_s)
        except TimeoutError:
            self._say("up", f"{self.service.name} does not end: killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await task
