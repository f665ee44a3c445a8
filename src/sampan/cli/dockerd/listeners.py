"""Where the API listens: unix sockets, TCP with and without TLS, sockets handed over by systemd."""

from __future__ import annotations

import grp
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, NotFoundError
from sampan.cli.dockerd.settings import Settings, TlsFiles
from sampan.loop.rest import RestServer
from sampan.loop.tls import server_context

__all__ = ["Listeners", "activated_sockets", "socket_group"]

_LOG = logging.getLogger("sampan.dockerd")
_FIRST_FD: Final = 3
_PORT, _TLS_PORT = 2375, 2376


class Listeners:
    """Opens what the settings name; what is wrong with it is found before the engine starts."""

    def __init__(self, settings: Settings, default_host: str) -> None:
        self._settings = settings
        self._hosts = tuple(settings.hosts) or (default_host,)
        self._group = socket_group(settings.group)
        self._tls = None if settings.tls is None else tls_context(settings.tls)
        self._handed = activated_sockets() if any(map(_by_systemd, self._hosts)) else []
        for host in self._hosts:
            self._check(host)

    def _check(self, host: str) -> None:
        if _by_systemd(host):
            self._of_systemd(host)
        if not host.startswith("tcp://"):
            return
        if self._settings.tls is not None and self._settings.tls.verify:
            return
        if not self._settings.plain_tcp and self._settings.tls is None:
            raise InvalidError(
                f"listening on {host} without --tlsverify gives root access to everyone who can "
                "connect: use --tlsverify, or say that it is meant with --tls=false"
            )
        _LOG.warning(
            "Binding to IP address without --tlsverify is insecure and gives root access on this "
            "machine to everyone who has access to your network. host=%s",
            host,
        )

    async def open(self, server: RestServer) -> None:
        """Listen everywhere, and say so in the log once all of it is open."""
        opened = [await self._listen(server, host) for host in self._hosts]
        for place in opened:
            _LOG.info("API listen on %s", place)

    async def _listen(self, server: RestServer, host: str) -> str:
        kind, _, rest = host.partition("://")
        if kind == "unix":
            path = Path(rest)
            path.parent.mkdir(parents=True, exist_ok=True)
            await server.listen_unix(path, group=self._group)
            return rest
        if kind == "fd":
            for sock in self._of_systemd(host):
                await server.listen_socket(sock, self._tls)
            return host
        name, _, port_text = rest.rpartition(":")
        port = int(port_text) if port_text else _TLS_PORT if self._tls else _PORT
        name = name.strip("[]")
        try:
            got = await server.listen(name, port, self._tls)
        except OSError as error:
            raise InvalidError(f"listen tcp {name}:{port}: {error.strerror or error}") from None
        return f"[{name}]:{got}" if ":" in name else f"{name}:{got}"

    def _of_systemd(self, host: str) -> Sequence[socket.socket]:
        wanted = host.removeprefix("fd://")
        if not self._handed:
            raise NotFoundError(
                "no sockets found via socket activation: make sure the service was started by "
                "systemd"
            )
        if wanted in ("", "*"):
            return self._handed
        at = int(wanted) - _FIRST_FD if wanted.isdigit() else -1
        if not 0 <= at < len(self._handed):
            raise NotFoundError(f"failed to listen on {host}: no such activated socket")
        return [self._handed[at]]


def _by_systemd(host: str) -> bool:
    return host.startswith("fd://")


def activated_sockets() -> list[socket.socket]:
    """Return the sockets that systemd has handed over (sd_listen_fds), none without."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + (int(count) if count.isdigit() else 0)):
        os.set_inheritable(fd, False)
        found.append(socket.socket(fileno=fd))
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    return found


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the server's TLS; InvalidError in dockerd's words when a file cannot be used."""
    try:
        return server_context(
            files.cert,
            files.key,
            client_ca=files.ca if files.verify else None,
            require_client_cert=files.verify,
        )
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.reason if isinstance(error, ssl.SSLError) else str(error)
        if files.verify and os.path.exists(files.cert) and not os.path.exists(files.ca):
            raise InvalidError(
                f'invalid TLS configuration: could not read CA certificate "{files.ca}": {reason}'
            ) from None
        raise InvalidError(
            f'invalid TLS configuration: could not load X509 key pair (cert: "{files.cert}", '
            f'key: "{files.key}"): {reason}'
        ) from None


def socket_group(name: str) -> int:
    """Return the number of the unix socket's group, -1 to leave it as it is.

    A group of that name or number; without `docker` on the machine the group of the user who
    called sudo. Raises InvalidError for any other group that is not there.
    """
    if os.geteuid() != 0 or not name:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isdigit():
            return int(name)
    if name != "docker":
        raise InvalidError(f"group {name} not found")
    by_sudo = os.environ.get("SUDO_GID", "")
    if by_sudo.isdigit():
        return int(by_sudo)
    _LOG.warning("could not change group of the socket to docker: group docker not found")
    return -1
