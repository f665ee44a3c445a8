"""A proxy before a real registry that makes chosen answers fail, and notes what it is asked."""

from __future__ import annotations

import http.client
import re
import select
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Fault", "FaultProxy", "Seen"]

_HOP: Final = ("connection", "transfer-encoding", "content-length", "keep-alive", "date", "server")


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` requests whose method and path match."""

    pattern: str
    times: int = 1
    status: int = 0
    """Answer this instead."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int = -1
    """Break off after so many bytes of the body, the request's when it has one."""

    flip: bool = False
    """Change the body's last byte."""

    more: bytes = b""
    """Add to the body, and to its length."""

    hold_after: int = -1
    """Wait for `release` after so many bytes, or for the client to leave."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came by."""

    method: str
    path: str
    headers: Mapping[str, str]


class FaultProxy:
    """Listens on loopback until it is closed."""

    def __init__(self, upstream: str, *faults: Fault) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.seen: list[Seen] = []
        self.moved: dict[str, str] = {}
        self.held = threading.Event()
        self.left = threading.Event()
        self.release = threading.Event()
        self.lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def host(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault of a request, one time less of it."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, f"{method} {path}"):
                    fault.times -= 1
                    return fault
        return None

    def requests(self, pattern: str) -> list[Seen]:
        """Return the requests whose method and path match."""
        with self.lock:
            return [one for one in self.seen if re.search(pattern, f"{one.method} {one.path}")]


class _Handler(BaseHTTPRequestHandler):
    owner: FaultProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _any(self) -> None:
        with self.owner.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.owner.seen.append(Seen(self.command, self.path, headers))
        fault = self.owner.take(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.status:
            self.rfile.read(length)
            self._answer(fault.status, fault.headers, fault.body, None)
            return
        if length and fault is not None and fault.cut_after >= 0:
            self._forward_half(length, fault.cut_after)
            return
        connection = http.client.HTTPConnection(self.owner.upstream, timeout=20)
        try:
            sent = {name: value for name, value in self.headers.items() if name != "Connection"}
            body = self.rfile.read(length) if length else None
            path = self.path
            if self.command == "GET":
                path = self.owner.moved.pop(path.partition("?")[0], path)
            connection.request(self.command, path, body, sent)
            answer = connection.getresponse()
            data = answer.read()
            told = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP}
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, told, data, fault, size)
        finally:
            connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def _answer(
        self,
        status: int,
        headers: Mapping[str, str],
        data: bytes,
        fault: Fault | None,
        size: str | None = None,
    ) -> None:
        if fault is not None and fault.flip:
            data = data[:-1] + bytes([data[-1] ^ 1])
        data += fault.more if fault is not None else b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", size or str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut_after >= 0:
            self.wfile.write(data[: fault.cut_after])
            self.wfile.flush()
            self._hang_up()
            return
        if fault is not None and fault.hold_after >= 0:
            self.wfile.write(data[: fault.hold_after])
            self.wfile.flush()
            self._hold()
            data = data[fault.hold_after :]
        self.wfile.write(data)

    def _hold(self) -> None:
        """Wait for `release`, or for the client to leave."""
        self.owner.held.set()
        while not self.owner.release.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                self.owner.left.set()
                return

    def _forward_half(self, length: int, half: int) -> None:
        """Let the registry have the beginning of a body, and break off before the answer.

        Its next question about the upload is put with the state that the answer has: this registry
        can only tell how far it is to who knows that.
        """
        body = self.rfile.read(min(half, length))
        sent = {name: value for name, value in self.headers.items() if name != "Connection"}
        sent["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(self.owner.upstream, timeout=20)
        connection.request(self.command, self.path, body, sent)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        place = urlsplit(answer.headers["Location"])
        self.owner.moved[place.path] = f"{place.path}?{place.query}"
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
