"""Failpoints by HTTP, for a test that switches them while the server runs; gofail's interface.

    GET /            every failpoint with what it does, one a line
    GET /NAME        what it does; 404 when it is off
    PUT /NAME        switches it on; the body is the terms
    DELETE /NAME     switches it off

The listener is there only with `SAMPAN_FAILPOINTS_HTTP=127.0.0.1:PORT`, and on loopback only. It
has a thread of its own, so that it answers while the server waits in a failpoint.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sampan.store.shell.failpoints import NAMES, POINTS, FailpointError

__all__ = ["listen"]

_MAX_BODY_BYTES = 1 << 12


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if not name:
            self._answer("".join(f"{one}={POINTS.terms(one)}\n" for one in NAMES))
        elif POINTS.terms(name):
            self._answer(POINTS.terms(name) + "\n")
        else:
            self._answer(f"failpoint {name} is off\n", HTTPStatus.NOT_FOUND)

    def do_PUT(self) -> None:
        size = min(int(self.headers.get("Content-Length", 0)), _MAX_BODY_BYTES)
        try:
            POINTS.enable(self.path.strip("/"), self.rfile.read(size).decode(errors="replace"))
        except FailpointError as error:
            self._answer(f"{error}\n", HTTPStatus.BAD_REQUEST)
        else:
            self._answer("")

    def do_DELETE(self) -> None:
        POINTS.disable(self.path.strip("/"))
        self._answer("")

    def _answer(self, text: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def listen(environment: Mapping[str, str]) -> str:
    """Open the listener if the environment asks for it; returns its address, or nothing.

    Raises FailpointError for an address that is none, or not on loopback; OSError.
    """
    address = environment.get("SAMPAN_FAILPOINTS_HTTP", "")
    if not address:
        return ""
    host, _, port = address.rpartition(":")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback or not port.isdigit():
        text = f"SAMPAN_FAILPOINTS_HTTP is {address!r}, but must be 127.0.0.1:PORT"
        raise FailpointError(text)
    server = ThreadingHTTPServer((host, int(port)), _Handler)
    threading.Thread(target=server.serve_forever, name="failpoints", daemon=True).start()
    return f"{host}:{server.server_address[1]}"
