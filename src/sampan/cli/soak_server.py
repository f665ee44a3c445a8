"""The server that a soak run starts, kills and starts again, over one data directory."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sampan.base.errors import SampanError

__all__ = ["SoakServer", "own_command"]

_READY = b"ready to serve client requests"
_ADDRESS = re.compile(rb"serving[^\n]*?client[^\n]*?127\.0\.0\.1:(\d+)")
_OUTPUT_LINES = 40


def own_command() -> tuple[str, ...]:
    """The command line that starts `sampan etcd` with this interpreter."""
    return (sys.executable, "-m", "sampan.cli.main", "etcd")


class SoakServer:
    """One server process at a time; `port` is where it listens on 127.0.0.1 now."""

    def __init__(self, command: Sequence[str], data_dir: Path) -> None:
        self._command = (
            *command,
            f"--data-dir={data_dir}",
            "--listen-client-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:0",
            "--listen-peer-urls=http://127.0.0.1:0",
        )
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._output: list[bytes] = []
        self.port = 0

    async def start(self, timeout_s: float = 30.0) -> None:
        """Start it and wait until it serves; raises SampanError with its last words."""
        self._output.clear()
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        if process.stdout is None:
            raise SampanError("the server's output cannot be read")
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(process.stdout, ready))
        try:
            async with asyncio.timeout(timeout_s):
                self.port = await ready
        except TimeoutError:
            await self.kill()
            raise SampanError(f"the server did not get ready:\n{self.output}") from None

    async def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def output(self) -> str:
        """The last lines that the server printed."""
        return b"".join(self._output).decode(errors="replace")

    async def _read(self, stream: asyncio.StreamReader, ready: asyncio.Future[int]) -> None:
        """Keep the output flowing; complete `ready` with the port, or with the early end."""
        serving, port = False, 0
        while line := await stream.readline():
            self._output = [*self._output[-_OUTPUT_LINES:], line]
            serving = serving or _READY in line
            found = _ADDRESS.search(line)
            port = int(found[1]) if found else port
            if serving and port and not ready.done():
                ready.set_result(port)
        if not ready.done():
            ready.set_exception(SampanError(f"the server ended at once:\n{self.output}"))
