"""A small server that plays the Docker API and remembers what a command line asked of it."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

__all__ = ["Asked", "Recorder", "recording"]

CONTAINER_ID = "c0" * 32
EVENT = {
    "Type": "container",
    "Action": "start",
    "Actor": {"ID": CONTAINER_ID, "Attributes": {"name": "box", "image": "busybox"}},
    "scope": "local",
    "time": 1700000000,
    "timeNano": 1700000000123456789,
}
INFO = {"ID": "x", "Driver": "overlay2", "Containers": 3}
ANSWERS: dict[tuple[str, str], tuple[int, object]] = {
    ("POST", "/containers/create"): (201, {"Id": CONTAINER_ID, "Warnings": []}),
    ("POST", "/networks/create"): (201, {"Id": "d0" * 32, "Warning": ""}),
    ("POST", "/volumes/create"): (201, {"Name": "vol"}),
    ("POST", "/commit"): (201, {"Id": "sha256:" + "e0" * 32}),
    ("POST", "/containers/box/update"): (200, {"Warnings": []}),
    ("POST", "/containers/box/exec"): (201, {"Id": "f0" * 32}),
    ("POST", f"/exec/{'f0' * 32}/start"): (200, {}),
    ("GET", "/containers/box/json"): (
        200,
        {"Id": CONTAINER_ID, "Name": "/box", "State": {"Running": True}, "Config": {"Tty": False}},
    ),
    **{
        (method, path): (200, value)
        for method, path, value in (
            ("GET", "/containers/json", []),
            ("GET", "/containers/box/top", {"Titles": ["PID"], "Processes": [["1"]]}),
            ("GET", "/containers/box/changes", []),
            ("POST", "/containers/prune", {"SpaceReclaimed": 0}),
            ("GET", "/images/json", []),
            ("GET", "/images/img/history", []),
            ("DELETE", "/images/img", [{"Untagged": "img:latest"}]),
            ("POST", "/images/prune", {"SpaceReclaimed": 0}),
            ("POST", "/images/create", {"status": "done"}),
            ("POST", "/images/load", {"stream": "Loaded image: img:latest\n"}),
            ("GET", "/images/search", []),
            ("GET", "/networks", []),
            ("POST", "/networks/prune", {}),
            ("GET", "/volumes", {"Volumes": []}),
            ("POST", "/volumes/prune", {"SpaceReclaimed": 0}),
            ("POST", "/build/prune", {"SpaceReclaimed": 0}),
            ("GET", "/events", EVENT),
            ("POST", f"/containers/{CONTAINER_ID}/wait", {"StatusCode": 0}),
            ("POST", "/containers/box/wait", {"StatusCode": 7}),
            ("GET", "/info", INFO),
            ("POST", "/auth", {"Status": "Login Succeeded"}),
        )
    },
}


class Asked(NamedTuple):
    """One request: without the version in its path."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        split = urlsplit(self.path)
        path = split.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        data = self._data()
        if path != "/_ping":
            kind = self.headers.get("Content-Type", "")
            body = json.loads(data) if data and kind == "application/json" else None
            query = parse_qs(split.query)
            cast("_Server", self.server).asked.append(Asked(self.command, path, query, body))
        code, value = ANSWERS.get((self.command, path), (204, None))
        if path == "/_ping":
            code, value = 200, "OK"
        out = b"" if code == 204 else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Api-Version", "1.50")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        if code != 204:
            self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        if self.command != "HEAD":
            # A client that only wanted the status may have gone.
            with suppress(BrokenPipeError):
                self.wfile.write(out)

    def _data(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    do_GET = do_POST = do_HEAD = do_DELETE = do_PUT = _answer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    asked: list[Asked]


Program = Callable[[Sequence[str], Sequence[str]], subprocess.CompletedProcess[str]]


class Recorder:
    """The server's address and what it was asked, and a way to run a command line against it."""

    def __init__(
        self, url: str, place: Path, asked: list[Asked], program: Program | None = None
    ) -> None:
        self.url = url
        self.place = place
        self.asked = asked
        self.call = program or self._call

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a command line here."""
        return {
            "DOCKER_HOST": self.url,
            "DOCKER_CONFIG": str(self.place),
            "GIVEN": "by the environment",
            "TZ": "UTC",
        }

    def _call(
        self, program: Sequence[str], argv: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *argv],
            env={**os.environ, **self.environment},
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@contextmanager
def recording(place: Path) -> Iterator[Recorder]:
    """Serve on a socket in `place` for the block."""
    path = place / "api.sock"
    with _Server(str(path), _Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Recorder(f"unix://{path}", place, server.asked)
        finally:
            server.shutdown()
            thread.join()
