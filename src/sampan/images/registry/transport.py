"""HTTP to registries: sessions by their TLS settings, certificates, errors in Docker's words.

The HTTP client is imported when the first registry is spoken to, in a thread: a daemon that never
pulls does without its memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sampan import __version__
from sampan.base.errors import InvalidError, LimitError, UnavailableError
from sampan.images.core.endpoint import Endpoint, proxy_for
from sampan.images.core.registryoptions import RegistryOptions
from sampan.images.registry.options import proxies

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ConnectError", "Transport", "read_bounded"]

_CONNECT_S: Final = 30.0
_SILENCE_S: Final = 60.0
_BUFFER_BYTES: Final = 512 << 10
_ANSWER_BYTES: Final = 1 << 20
_LINE_BYTES: Final = 32 << 10
_CONTEXTS: Final = 16
_ALERT: Final = re.compile(r"\[SSL: \w+?_ALERT_(\w+)\]")
_HEADERS: Final = {
    "User-Agent": f"sampan/{__version__}",
    "Accept-Encoding": "identity",
}


class ConnectError(UnavailableError):
    """Nobody answered, or the answer broke off."""


class _Session:
    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.client = client
        self.users = 0


class Transport:
    """Sessions, shared while somebody uses them and closed with their last user."""

    def __init__(self, options: Callable[[], RegistryOptions], certificates: Path) -> None:
        self._options = options
        self._certificates = certificates
        self._sessions: dict[tuple[str, bool], _Session] = {}
        self._contexts: dict[tuple[str, bool], tuple[object, ssl.SSLContext]] = {}
        self._opening = asyncio.Lock()

    def has_authority(self, host: str) -> bool:
        """Tell whether a certificate authority was given for a host: then TLS is not optional."""
        return any(self._folder(host).glob("*.crt"))

    def _folder(self, host: str) -> Path:
        if "/" in host or host in ("", ".", ".."):
            raise InvalidError(f"invalid registry host {host!r}")
        return self._certificates / host

    @contextlib.asynccontextmanager
    async def session(self, endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientSession]:
        """Use the session for an endpoint."""
        key = (endpoint.host, endpoint.verify)
        async with self._opening:
            found = self._sessions.get(key)
            if found is None:
                found = self._sessions[key] = _Session(await self._open(endpoint))
            found.users += 1
        try:
            yield found.client
        finally:
            found.users -= 1
            if not found.users:
                del self._sessions[key]
                await found.client.close()

    async def _open(self, endpoint: Endpoint) -> aiohttp.ClientSession:
        http = await asyncio.to_thread(importlib.import_module, "aiohttp")
        context = await asyncio.to_thread(self._context, endpoint)
        timeout = http.ClientTimeout(None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        client: aiohttp.ClientSession = http.ClientSession(
            connector=http.TCPConnector(ssl=context, limit=0),
            timeout=timeout,
            headers=_HEADERS,
            auto_decompress=False,
            cookie_jar=http.DummyCookieJar(),
            read_bufsize=_BUFFER_BYTES,
            max_line_size=_LINE_BYTES,  # addresses with a state or a signature are long
            max_field_size=_LINE_BYTES,
        )
        return client

    def _context(self, endpoint: Endpoint) -> ssl.SSLContext:
        """Return the TLS settings for an endpoint, with the certificates of its folder; blocks."""
        folder, key = self._folder(endpoint.host), (endpoint.host, endpoint.verify)
        files = [(path, path.stat()) for path in folder.iterdir()] if folder.is_dir() else []
        seen = tuple(sorted((path.name, at.st_mtime_ns, at.st_size) for path, at in files))
        known = self._contexts.get(key)
        if known is not None and known[0] == seen:
            return known[1]
        context = self._new_context(endpoint, folder)
        if len(self._contexts) >= _CONTEXTS:
            self._contexts.clear()
        self._contexts[key] = seen, context
        return context

    def _new_context(self, endpoint: Endpoint, folder: Path) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for path in sorted(folder.glob("*.crt")):
            context.load_verify_locations(path)
        for path in sorted(folder.glob("*.cert")):
            key = path.with_suffix(".key")
            if not key.exists():
                raise InvalidError(
                    f"missing key {key.name} for client certificate {path.name}. CA certificates "
                    "must use the extension .crt"
                )
            context.load_cert_chain(path, key)
        if not endpoint.verify and not self.has_authority(endpoint.host):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @contextlib.asynccontextmanager
    async def request(
        self, endpoint: Endpoint, method: str, url: str, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give its answer; ConnectError when there is none, or half of one."""
        async with self.session(endpoint) as client:
            import aiohttp as http
            import yarl

            proxy = proxy_for(url, *proxies(self._options()))
            try:
                # As it is: what a registry gives is often signed.
                encoded = yarl.URL(url, encoded=True)
            except ValueError as error:
                raise InvalidError(f"the registry gives an address that is none: {error}") from None
            try:
                async with client.request(method, encoded, proxy=proxy, **more) as response:
                    yield response
            except (http.ClientError, TimeoutError, ConnectionError) as error:
                words = _words(error)
                raise ConnectError(f'{method.capitalize()} "{url}": {words}') from error


def _words(error: BaseException) -> str:
    """Return what is wrong with a connection, as Go's HTTP client says it."""
    inner: BaseException | None = getattr(error, "os_error", None) or error
    text = str(error)
    if isinstance(inner, TimeoutError):
        return "i/o timeout"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {inner.verify_message}"
    alert = _ALERT.search(text)
    if alert is not None:
        return f"remote error: tls: {alert[1].lower().replace('_', ' ')}"
    if isinstance(inner, ssl.SSLError):
        if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
            return "http: server gave HTTP response to HTTPS client"
        return f"tls: {inner.reason or text}"
    certificate = getattr(error, "certificate_error", None)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {certificate.verify_message}"
    host, port = getattr(error, "host", ""), getattr(error, "port", "")
    if isinstance(inner, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(inner, OSError) and inner.errno == errno.ECONNREFUSED:
        return f"dial tcp {host}:{port}: connect: connection refused"
    if isinstance(inner, ConnectionResetError):
        return "connection reset by peer"
    if type(error).__name__ in ("ServerDisconnectedError", "ClientPayloadError"):
        return "unexpected EOF"
    return text or type(error).__name__


async def read_bounded(response: aiohttp.ClientResponse, limit_bytes: int = _ANSWER_BYTES) -> bytes:
    """Return the body of an answer; LimitError beyond the limit."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit_bytes:
            raise LimitError(f"the registry's answer is larger than {limit_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)
