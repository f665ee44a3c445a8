"""Calls, streams and upgraded connections, in the newest version that both sides know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sampan.base.errors import SampanError
from sampan.engine.client.address import Address
from sampan.engine.client.hijack import Hijacked
from sampan.engine.client.transport import Connection, Response, dial

__all__ = ["NEWEST", "ApiError", "Client", "json_documents", "quoted"]

NEWEST = (1, 50)
OLDEST = (1, 40)
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@")
_MAX_DOCUMENT_BYTES = 64 << 20

Query = Mapping[str, str] | Iterable[tuple[str, str]]


class ApiError(SampanError):
    """The daemon's own error, with the status code that it answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.message = message


def quoted(text: str) -> str:
    """Return `text` for a path or a query: what is not plain is percent-encoded."""
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode())


class Client:
    """Calls one daemon. Connections are made when they are needed and used again."""

    def __init__(
        self, address: Address, version: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self.address = address
        self.headers = {"User-Agent": "sampan", **(headers or {})}
        self._version = version.removeprefix("v")
        self._idle: list[Connection] = []
        self._made: list[Connection] = []

    def close(self) -> None:
        """Close every connection, whatever is still to be read of it."""
        for connection in self._made:
            connection.close()
        self._made.clear()
        self._idle.clear()

    def interrupt(self) -> None:
        """End what is under way, from another thread; calls after it make new connections."""
        self._idle.clear()
        for connection in list(self._made):
            connection.interrupt()

    @property
    def version(self) -> str:
        """The version of the API that is spoken: the older of the two sides' newest."""
        if not self._version:
            response = self._exchange("HEAD", "/_ping", {}, None)
            response.read()
            self._release(response)
            self._version = negotiated(response.headers.get("api-version", ""))
        return self._version

    def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call and return its JSON, None for an empty answer; ApiError for an error."""
        data = None if body is None else json.dumps(body).encode()
        response = self.open(method, path, query, data, headers)
        text = response.read()
        self._release(response)
        return json.loads(text) if text.strip() else None

    def open(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Make one call and return its answer unread; ApiError for an error."""
        sent = dict(headers or {})
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        response = self._exchange(method, self._target(path, query), sent, body)
        if response.status >= 400:
            self._fail(response)
        return response

    def documents(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Any]:
        """Make one call and yield the JSON documents of its answer as they come."""
        response = self.open(method, path, query, body, headers)
        yield from json_documents(response.chunks())
        self._release(response)

    def hijack(
        self, path: str, query: Query | None = None, body: Mapping[str, Any] | None = None
    ) -> Hijacked:
        """Ask for an upgrade and return the raw stream behind it."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        response = self._exchange("POST", self._target(path, query), headers, data, fresh=True)
        if response.status >= 400:
            self._fail(response)
        if response.status != 101:
            response.close()
            raise SampanError(f"unable to upgrade to tcp, received {response.status}")
        return Hijacked(response.connection, response.headers.get("content-type", ""))

    def _target(self, path: str, query: Query | None) -> str:
        given = query.items() if isinstance(query, Mapping) else query or ()
        pairs = "&".join(f"{quoted(key)}={quoted(value)}" for key, value in given)
        return f"/v{self.version}{path}" + (f"?{pairs}" if pairs else "")

    def _exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        fresh: bool = False,
    ) -> Response:
        if fresh or not self._idle:
            connection = dial(self.address)
            self._made.append(connection)
        else:
            connection = self._idle.pop()
        connection.send(method, target, {**self.headers, **headers}, body)
        return connection.receive(method)

    def _release(self, response: Response) -> None:
        if response.finished and response.connection.reusable:
            self._idle.append(response.connection)
        else:
            response.close()

    def _fail(self, response: Response) -> None:
        text = response.read()
        self._release(response)
        try:
            message = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            message = text.decode(errors="replace").strip() or f"status {response.status}"
        raise ApiError(response.status, str(message))


def negotiated(newest_of_daemon: str) -> str:
    """Return the version to speak with a daemon whose newest is that one."""
    try:
        major, _, minor = newest_of_daemon.partition(".")
        theirs = (int(major), int(minor))
    except ValueError:
        theirs = OLDEST
    if theirs < OLDEST:
        raise SampanError(
            f"the daemon's API version {newest_of_daemon} is too old: "
            f"1.{OLDEST[1]} or newer is needed"
        )
    return "{}.{}".format(*min(theirs, NEWEST))


def json_documents(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Yield the documents of a stream that has one a line."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end]).strip()
            del buffer[: end + 1]
            if line:
                yield _document(line)
        if len(buffer) > _MAX_DOCUMENT_BYTES:
            raise SampanError("the daemon sent a document without end")
    if buffer.strip():
        yield _document(bytes(buffer))


def _document(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise SampanError(f"the daemon sent no JSON: {line[:80]!r}") from None
