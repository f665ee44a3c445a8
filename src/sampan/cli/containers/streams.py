"""Joining the caller's streams with a container's."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from sampan.base.errors import SampanError
from sampan.cli.containers.core.detach import DetachFilter
from sampan.engine.client.frames import STDERR, frames
from sampan.engine.client.hijack import Hijacked

__all__ = ["Detached", "join", "proxied", "write_all"]

_READ_BYTES = 1 << 16


class Detached(Exception):
    """The caller typed the keys that leave the container running."""


def write_all(stream: int, data: bytes) -> None:
    """Write everything to a descriptor, past buffers."""
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]


def join(remote: Hijacked, terminal: bool, stdin: bool, keys: bytes) -> None:
    """Send what is typed and write what comes until the container ends its streams.

    Raises Detached for the detach keys, which are looked for in a terminal's input only.
    """
    sender = None
    if stdin:
        import threading

        sender = _Sender(remote, DetachFilter(keys) if terminal else None)
        threading.Thread(target=sender.run, daemon=True).start()
    try:
        if terminal:
            for chunk in remote.chunks():
                write_all(1, chunk)
        else:
            for stream, data in frames(remote.chunks()):
                write_all(2 if stream == STDERR else 1, data)
    finally:
        remote.close()
    if sender is not None and sender.detached:
        raise Detached


class _Sender:
    """Standard input, on its way to the container in a thread of its own."""

    def __init__(self, remote: Hijacked, watch: DetachFilter | None) -> None:
        self._remote = remote
        self._watch = watch
        self.detached = False

    def run(self) -> None:
        # The container may end first; then the main thread knows.
        with contextlib.suppress(OSError):
            while data := os.read(0, _READ_BYTES):
                if self._watch is not None:
                    data, self.detached = self._watch.feed(data)
                if data:
                    self._remote.write(data)
                if self.detached:
                    self._remote.abort()
                    return
            self._remote.close_write()


_KEPT = frozenset(
    getattr(signal, name)
    for name in (
        "SIGKILL", "SIGSTOP", "SIGCHLD", "SIGPIPE", "SIGURG", "SIGWINCH", "SIGTSTP", "SIGTTIN",
        "SIGTTOU", "SIGCONT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGPROF", "SIGALRM",
        "SIGVTALRM",
    )
)  # fmt: skip


@contextlib.contextmanager
def proxied(kill: Callable[[str], object]) -> Iterator[None]:
    """Hand the signals that this process gets on to the container for the block."""

    def passed_on(number: int, _: object) -> None:
        # The container may have ended meanwhile.
        with contextlib.suppress(SampanError):
            kill(signal.Signals(number).name.removeprefix("SIG"))

    before = {}
    for number in signal.valid_signals() - _KEPT:
        if not isinstance(number, signal.Signals):
            continue
        before[number] = signal.signal(number, passed_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
