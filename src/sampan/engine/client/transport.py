"""One connection to the daemon: requests out, responses in, and the raw stream after an upgrade.

Blocking, and with nothing imported that a short command would wait for: HTTP/1.1 as a daemon
speaks it is a status line, headers, and one of three kinds of body.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sampan.base.errors import SampanError, UnavailableError
from sampan.engine.client.address import Address

if TYPE_CHECKING:
    import ssl

__all__ = ["Connection", "Response", "dial"]

_READ_BYTES = 1 << 16
_MAX_HEAD_BYTES = 1 << 20


def dial(address: Address) -> Connection:
    """Connect; UnavailableError when nobody listens there or may be spoken to."""
    try:
        if address.path:
            raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                raw.connect(address.path)
            except BaseException:
                raw.close()
                raise
        else:
            raw = socket.create_connection((address.host, address.port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except PermissionError:
        raise UnavailableError(
            "permission denied while trying to connect to the Docker daemon socket at "
            f"{address.url}: run as root, or join the socket's group"
        ) from None
    except OSError as error:
        raise UnavailableError(
            f"Cannot connect to the Docker daemon at {address.url}. Is the docker daemon running? "
            f"({error.strerror or error})"
        ) from None
    return Connection(raw if address.tls is None else _secured(raw, address))


def _secured(raw: socket.socket, address: Address) -> ssl.SSLSocket:
    import ssl

    files = address.tls
    if files is None:
        raise SampanError("no TLS files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if not files.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif files.ca:
            context.load_verify_locations(files.ca)
        else:
            context.load_default_certs()
        if files.certificate:
            context.load_cert_chain(files.certificate, files.key or None)
        return context.wrap_socket(raw, server_hostname=address.host)
    except OSError as error:
        raw.close()
        raise UnavailableError(f"TLS with {address.url}: {error}") from None


class Response:
    """A response whose body is still to be read, once, by `chunks` or `read`."""

    def __init__(
        self, connection: Connection, status: int, headers: Mapping[str, str], bodyless: bool
    ) -> None:
        self.status = status
        self.headers = headers
        self.connection = connection
        self._bodyless = bodyless or status in (204, 304)
        self.finished = self._bodyless

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes; UnavailableError when it is cut off."""
        if self.finished:
            return
        if "chunked" in self.headers.get("transfer-encoding", ""):
            yield from self.connection.chunked()
        elif "content-length" in self.headers:
            yield from self.connection.counted(int(self.headers["content-length"]))
        else:
            yield from self.connection.rest()
            self.connection.reusable = False
        self.finished = True

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks())

    def close(self) -> None:
        """End the connection, whatever of the body is still to come."""
        self.connection.close()


class Connection:
    """A connected socket with what has been read of it and not used yet."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        self.reusable = True
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the socket; may be called again."""
        self.reusable = False
        self.socket.close()

    def interrupt(self) -> None:
        """Let reading and writing end at once; may be called from another thread."""
        self.reusable = False
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # Closed already.

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> None:
        """Send one request; a body that is not bytes goes in chunks."""
        lines = [f"{method} {target} HTTP/1.1", "Host: docker"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is None:
            if method in ("POST", "PUT"):
                lines.append("Content-Length: 0")
        elif isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        else:
            lines.append("Transfer-Encoding: chunked")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        try:
            if body is None or isinstance(body, bytes):
                self.socket.sendall(head + (body or b""))
                return
            self.socket.sendall(head)
            for chunk in body:
                if chunk:
                    self.socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            # The daemon may have answered before it had read everything; the answer says why.
            self.reusable = False

    def receive(self, method: str) -> Response:
        """Read the head of the response, past any that are only informational."""
        while True:
            line, *fields = self._head().split("\r\n")
            words = line.split(" ", 2)
            if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
                raise SampanError(f"this is not a Docker daemon: it answered {line[:80]!r}")
            headers: dict[str, str] = {}
            for field in fields:
                name, _, value = field.partition(":")
                headers[name.strip().lower()] = value.strip()
            status = int(words[1])
            if status >= 200 or status == 101:
                break
        if words[0] == "HTTP/1.0" or headers.get("connection", "").lower() == "close":
            self.reusable = False
        return Response(self, status, headers, method == "HEAD" or status == 101)

    def _head(self) -> str:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise SampanError("the daemon's answer has no end of its headers")
            self._fill()
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        return head

    def _fill(self) -> None:
        try:
            data = self.socket.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            self.reusable = False
            raise UnavailableError("the daemon closed the connection before its answer was whole")
        self._buffer += data

    def counted(self, length: int) -> Iterator[bytes]:
        """Yield that many bytes."""
        while length:
            if not self._buffer:
                self._fill()
            data = bytes(self._buffer[:length])
            del self._buffer[: len(data)]
            length -= len(data)
            yield data

    def chunked(self) -> Iterator[bytes]:
        """Yield a chunked body."""
        while True:
            size_text = self._line().partition(b";")[0]
            try:
                size = int(size_text, 16)
            except ValueError:
                raise SampanError(f"the daemon sent a wrong chunk: {size_text[:40]!r}") from None
            if size == 0:
                while self._line():
                    pass
                return
            yield from self.counted(size)
            self._line()

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise SampanError("the daemon sent a line without end")
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def buffered(self) -> Iterator[bytes]:
        """Yield what has been read already, if anything."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            yield data

    def rest(self) -> Iterator[bytes]:
        """Yield everything until the daemon closes its side."""
        yield from self.buffered()
        while data := self.socket.recv(_READ_BYTES):
            yield data
