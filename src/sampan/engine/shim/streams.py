"""The stdio of one process and the clients attached to it.

Output is read, logged and copied to every attached client, without a terminal in Docker's frames:
one byte for the stream, three zeros, four bytes of length, the data. A client that reads slowly
holds the output back once a bounded buffer is full, as it would with Docker.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Attachment", "ProcessStreams", "Reactor"]

_READ_BYTES: Final = 64 * 1024
_BUFFER_BYTES: Final = 1 << 20
_STREAM_NUMBERS: Final = {"stdout": 1, "stderr": 2}


class Reactor:
    """Calls back when descriptors are ready."""

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` while any of the events holds; none at all ends the watch."""
        try:
            if not events:
                self._selector.unregister(fd)
            else:
                self._selector.modify(fd, events, callback)
        except KeyError:
            if events:
                self._selector.register(fd, events, callback)

    def turn(self, timeout_s: float | None) -> bool:
        """Wait for events and handle them; False when the time ran out first."""
        ready = self._selector.select(timeout_s)
        for key, events in ready:
            if key.fd in self._selector.get_map():
                key.data(events)
        return bool(ready)


@dataclass(slots=True)
class Attachment:
    """One client: a stream socket, and what it wants."""

    sock: socket.socket
    stdin: bool
    stdout: bool
    stderr: bool
    pending: bytearray
    ended: bool = False


class ProcessStreams:
    """Pipes or a terminal on one side, a log and clients on the other."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        terminal: bool,
        keep_stdin: bool,
        sink: Callable[[str, bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._terminal = terminal
        self._keep_stdin = keep_stdin
        self._sink = sink
        self._ended = ended
        self._outputs: dict[int, str] = {}
        self._paused = False
        self._stdin = -1
        self._stdin_pending = bytearray()
        self._stdin_full = False
        self._stdin_closing = False
        self._clients: list[Attachment] = []

    def connect(self, stdin: int, outputs: dict[int, str]) -> None:
        """Take over the parent's ends: where input goes (-1 for nowhere), where output comes."""
        self._stdin = stdin
        self._outputs = dict(outputs)
        for fd in {stdin, *outputs} - {-1}:
            os.set_blocking(fd, False)
        self._watch_outputs()
        if self._stdin_pending or self._stdin_closing:
            self._flush_stdin(0)

    def attach(self, sock: socket.socket, wants: dict[str, Any]) -> None:
        """Add a client."""
        sock.setblocking(False)
        client = Attachment(
            sock, bool(wants["stdin"]), bool(wants["stdout"]), bool(wants["stderr"]), bytearray()
        )
        self._clients.append(client)
        self._watch_client(client)

    @property
    def open(self) -> bool:
        """Tell whether output may still come."""
        return bool(self._outputs)

    def _watch_outputs(self) -> None:
        for fd in self._outputs:
            events = 0 if self._paused else selectors.EVENT_READ
            self._reactor.watch(fd, events, lambda _, one=fd: self._output(one))  # type: ignore[misc]

    def _output(self, fd: int) -> None:
        stream = self._outputs.get(fd)
        if stream is None:
            return
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal whose other side is closed
        if not data:
            self._close_output(fd)
            return
        self._sink(stream, data)
        for client in list(self._clients):
            self._copy(client, stream, data)
        if any(len(client.pending) > _BUFFER_BYTES for client in self._clients):
            self._paused = True
            self._watch_outputs()

    def _close_output(self, fd: int) -> None:
        self._reactor.watch(fd, 0, _nothing)
        del self._outputs[fd]
        if fd == self._stdin:
            self._stdin = -1
        os.close(fd)
        if not self._outputs:
            self._ended()

    def _copy(self, client: Attachment, stream: str, data: bytes) -> None:
        wanted = client.stdout if stream == "stdout" else client.stderr
        if not wanted:
            return
        if not self._terminal:
            data = struct.pack(">BxxxI", _STREAM_NUMBERS[stream], len(data)) + data
        if not client.pending:
            try:
                data = data[client.sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self._drop(client)
                return
        if data:
            client.pending += data
            self._watch_client(client)

    def _watch_client(self, client: Attachment) -> None:
        events = selectors.EVENT_WRITE if client.pending else 0
        if not client.ended and not self._stdin_full:
            events |= selectors.EVENT_READ
        self._reactor.watch(
            client.sock.fileno(), events, lambda ready: self._client_ready(client, ready)
        )

    def _client_ready(self, client: Attachment, ready: int) -> None:
        if ready & selectors.EVENT_WRITE and client.pending:
            try:
                del client.pending[: client.sock.send(client.pending)]
            except BlockingIOError:
                pass
            except OSError:
                self._drop(client)
                return
            if not client.pending:
                self._watch_client(client)
            if self._paused and all(len(one.pending) < _BUFFER_BYTES for one in self._clients):
                self._paused = False
                self._watch_outputs()
        if ready & selectors.EVENT_READ:
            self._input(client)

    def _input(self, client: Attachment) -> None:
        try:
            data = client.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if data:
            if client.stdin and not self._stdin_closing:
                self._stdin_pending += data
                self._flush_stdin(0)
                self._bound_input()
            return
        # The client ended its input, or left: writing to it will tell which.
        client.ended = True
        self._watch_client(client)
        if client.stdin and not self._keep_stdin:
            self._stdin_closing = True
            self._flush_stdin(0)
        if not (client.stdout or client.stderr):
            self._drop(client)

    def _bound_input(self) -> None:
        """Read from no client while much waits for the process, and again when it does not."""
        full = len(self._stdin_pending) >= _BUFFER_BYTES
        if full != self._stdin_full:
            self._stdin_full = full
            for client in list(self._clients):
                self._watch_client(client)

    def _flush_stdin(self, _: int) -> None:
        if self._stdin < 0:
            return
        if self._stdin_pending:
            try:
                del self._stdin_pending[: os.write(self._stdin, self._stdin_pending)]
            except BlockingIOError:
                pass
            except OSError:
                self._stdin_pending.clear()
                self._stdin_closing = True
        self._bound_input()
        if self._stdin_pending:
            self._watch_stdin(selectors.EVENT_WRITE)
            return
        self._watch_stdin(0)
        if self._stdin_closing:
            self._end_stdin()

    def _watch_stdin(self, events: int) -> None:
        if self._terminal:
            if events:
                events |= selectors.EVENT_READ

                def both(ready: int) -> None:
                    if ready & selectors.EVENT_READ:
                        self._output(self._stdin)
                    if ready & selectors.EVENT_WRITE:
                        self._flush_stdin(0)

                self._reactor.watch(self._stdin, events, both)
            else:
                self._watch_outputs()
        else:
            self._reactor.watch(self._stdin, events, self._flush_stdin)

    def _end_stdin(self) -> None:
        """Close the input; a terminal gets the character that means the end."""
        if self._terminal:
            try:
                os.write(self._stdin, b"\x04")
            except OSError:
                pass
            self._stdin_closing = False
        else:
            os.close(self._stdin)
            self._stdin = -1

    def close_stdin(self) -> None:
        """End the input after what is pending."""
        self._stdin_closing = True
        self._flush_stdin(0)

    def _drop(self, client: Attachment) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._reactor.watch(client.sock.fileno(), 0, _nothing)
            client.sock.close()

    def drained(self) -> bool:
        """Tell whether every client has been sent what there is for it."""
        return not any(client.pending for client in self._clients)

    def close(self) -> None:
        """Let go of everything."""
        for fd in list(self._outputs):
            self._reactor.watch(fd, 0, _nothing)
            os.close(fd)
            if fd == self._stdin:
                self._stdin = -1
        self._outputs.clear()
        if self._stdin >= 0:
            self._reactor.watch(self._stdin, 0, _nothing)
            os.close(self._stdin)
            self._stdin = -1
        for client in list(self._clients):
            self._drop(client)


def _nothing(_: int) -> None:
    """Take no notice."""
