"""TLS contexts for gRPC: ALPN, client certificates, and certificates that change on disk."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

__all__ = ["client_context", "peer_common_name", "peer_host_names", "server_context"]

ALPN = ["h2", "http/1.1"]


def server_context(
    cert: str | Path,
    key: str | Path,
    *,
    client_ca: str | Path | None = None,
    client_crl: str | Path | None = None,
    require_client_cert: bool = False,
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    max_version: ssl.TLSVersion | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """Return a server context for PEM files `cert` and `key`.

    With `client_ca` the client's certificate is verified, with `client_crl` also that it is not
    revoked; `require_client_cert` refuses clients without one. Certificate, key and revocations
    are looked at on each handshake and read again when they changed; new files that do not load are
    ignored until they do. `ciphers` is OpenSSL's syntax and concerns TLS 1.2. Raises OSError or
    ssl.SSLError when the files do not load now.
    """

    def build() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = min_version
        if max_version is not None:
            context.maximum_version = max_version
        if ciphers is not None:
            context.set_ciphers(ciphers)
        context.load_cert_chain(cert, key)
        context.set_alpn_protocols(ALPN)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if require_client_cert else ssl.CERT_OPTIONAL
        if client_crl is not None:
            context.load_verify_locations(client_crl)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    files = [Path(cert), Path(key), *([] if client_crl is None else [Path(client_crl)])]
    first = build()
    fresh = first
    seen = _stamps(files)

    def reload(socket: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: object) -> None:
        nonlocal fresh, seen
        now = _stamps(files)
        if now != seen:
            try:
                fresh = build()
                seen = now
            except (OSError, ssl.SSLError):
                pass
        if fresh is not first:
            socket.context = fresh

    first.sni_callback = reload
    return first


def client_context(
    *,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """Return a client context that trusts `ca` (the system's roots without it).

    `cert` and `key` are the client's own certificate. `verify=False` takes any server.
    """
    context = ssl.create_default_context(cafile=None if ca is None else os.fspath(ca))
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    return context


def peer_common_name(transport: asyncio.BaseTransport) -> str | None:
    """Return the CN of the peer's verified certificate, None without one."""
    certificate = transport.get_extra_info("peercert")
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None


def peer_host_names(transport: asyncio.BaseTransport) -> tuple[str, ...]:
    """Return the DNS names and addresses in the peer's verified certificate."""
    names = (transport.get_extra_info("peercert") or {}).get("subjectAltName", ())
    return tuple(str(value) for kind, value in names if kind in ("DNS", "IP Address"))


def _stamps(files: list[Path]) -> list[tuple[int, int, int]]:
    stamps = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            stamps.append((0, 0, 0))
        else:
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return stamps
