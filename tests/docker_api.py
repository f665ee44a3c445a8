"""Raw requests to a Docker API socket: what a client that makes mistakes would send."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Answer", "DockerApi"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def document(self) -> Any:
        """The decoded body."""
        return json.loads(self.raw)

    @property
    def message(self) -> str:
        """Docker's error message; the body when it is none."""
        try:
            found = self.document
        except ValueError:
            return self.raw.decode(errors="replace")
        return str(found["message"]) if isinstance(found, dict) and "message" in found else ""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class DockerApi:
    """A client of one socket; a connection for each request."""

    def __init__(self, path: Path, version: str = "1.41") -> None:
        self.path = path
        self._prefix = f"/v{version}"

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> Answer:
        """One request: bytes go as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if raw is not None else {}
        connection = _Connection(self.path)
        try:
            connection.request(method, self._prefix + path, raw, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()
