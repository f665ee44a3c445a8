"""What a remote command looks like to the engine, whichever protocol carries it.

A client of exec or attach speaks SPDY/3.1 or a WebSocket; both carry stdin, stdout, stderr, sizes
of the terminal and a final status on separate channels. `Remote` is that, with bounded queues.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "STREAM_TIMEOUT_S",
    "ByteStream",
    "Remote",
    "Size",
    "StdinQueue",
    "TerminalSize",
    "Wanted",
    "exit_status",
    "failure_status",
    "parse_size",
]

STREAM_TIMEOUT_S = 30.0
"""How long a client may take to open its streams."""

_STDIN_PIECES = 16
_FIRST_SIZE_S = 0.2


class ByteStream(Protocol):
    """A connection after its upgrade."""

    async def read(self) -> bytes:
        """Return some bytes, none at the end."""
        ...

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    async def drain(self) -> None:
        """Wait until the queue is short."""
        ...

    def close(self) -> None:
        """End the connection after what is queued."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which channels a request asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size in characters."""

    width: int
    height: int


class Remote(Protocol):
    """The client's end of a remote command."""

    async def read_stdin(self) -> bytes:
        """Return bytes that the client typed, none once it ended its input."""
        ...

    async def first_size(self) -> Size | None:
        """Return the terminal's size as the client sends it at once; None when it does not."""
        ...

    async def on_resize(self, callback: Callable[[Size], Awaitable[None]]) -> None:
        """Call back with the terminal's size: the last one that came, and every further one."""
        ...

    async def write_stdout(self, data: bytes) -> None:
        """Send output; waits while the client reads slowly."""
        ...

    async def write_stderr(self, data: bytes) -> None:
        """Send error output; waits while the client reads slowly."""
        ...

    async def finish(self, status: dict[str, Any]) -> None:
        """Send the final status and end all channels."""
        ...

    async def lost(self) -> None:
        """Wait until the client has gone."""
        ...


class StdinQueue:
    """Input between the connection's reader and the process, bounded in pieces."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_STDIN_PIECES)
        self._ended = False

    async def put(self, data: bytes) -> None:
        """Queue a piece; waits while the process reads slowly. An empty one is the end."""
        if not self._ended:
            self._ended = not data
            await self._pieces.put(data)

    async def get(self) -> bytes:
        """Return the next piece, empty at the end and ever after."""
        data = await self._pieces.get()
        if not data:
            self._pieces.put_nowait(b"")
        return data


class TerminalSize:
    """The client's terminal: sizes that come before anybody asks are not lost."""

    def __init__(self) -> None:
        self._last: Size | None = None
        self._callback: Callable[[Size], Awaitable[None]] | None = None
        self._known = asyncio.Event()

    async def first(self) -> Size | None:
        """Return the first size, None when it takes long to come."""
        try:
            async with asyncio.timeout(_FIRST_SIZE_S):
                await self._known.wait()
        except TimeoutError:
            return None
        return self._last

    async def put(self, size: Size | None) -> None:
        """Take a size; None was no size."""
        if size is None:
            return
        self._last = size
        self._known.set()
        if self._callback is not None:
            await self._callback(size)

    async def follow(self, callback: Callable[[Size], Awaitable[None]]) -> None:
        """Call back with the last size, and with every further one."""
        self._callback = callback
        if self._last is not None:
            await callback(self._last)


def parse_size(message: bytes) -> Size | None:
    """Return the size of a resize message, `{"Width": 80, "Height": 24}`; None when it is none."""
    try:
        found = json.loads(message)
        width, height = int(found["Width"]), int(found["Height"])
    except (ValueError, KeyError, TypeError):
        return None
    return Size(width, height) if 0 < width < 1 << 16 and 0 < height < 1 << 16 else None


def exit_status(code: int) -> dict[str, Any]:
    """Return the `metav1.Status` of a command that ended with this exit code."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> dict[str, Any]:
    """Return the `metav1.Status` of a command that could not be run."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "code": 500,
    }
