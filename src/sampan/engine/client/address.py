"""Where the daemon is: DOCKER_HOST and its relatives, as Docker's own tools read them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from sampan.base.errors import InvalidError, UnsupportedError

__all__ = ["Address", "Tls", "daemon_address", "default_host", "tls_files"]

_TCP_PORT = 2375
_TLS_PORT = 2376


class Tls(NamedTuple):
    """Files of a TLS connection; an empty name for what is not used."""

    ca: str
    certificate: str
    key: str
    verify: bool


class Address(NamedTuple):
    """A unix socket by its path, or a host and port with or without TLS."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


def default_host(environment: Mapping[str, str]) -> str:
    """Return where a daemon of this user listens without flags.

    Docker's own place comes first, then `sampan dockerd`'s without root, then `sampan up`'s.
    """
    system = "/var/run/docker.sock"
    user_id = os.geteuid()
    if user_id == 0:
        places = [system, "/var/lib/sampan/docker.sock"]
    else:
        runtime = environment.get("XDG_RUNTIME_DIR") or f"/tmp/sampan-{user_id}"
        state = environment.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        places = [f"{runtime}/docker.sock", f"{state}/sampan/docker.sock"]
    return f"unix://{next((one for one in places if os.path.exists(one)), system)}"


def daemon_address(
    environment: Mapping[str, str], host: str = "", tls: Tls | None = None
) -> Address:
    """Return the address of `host`, else of SAMPAN_HOST or DOCKER_HOST, else the default.

    `tls` are files given by hand; without it DOCKER_TLS_VERIFY, DOCKER_TLS and DOCKER_CERT_PATH
    say whether and with which files a TCP connection is secured. Raises InvalidError for an
    address that is none, UnsupportedError for ssh.
    """
    url = (
        host
        or environment.get("SAMPAN_HOST")
        or environment.get("DOCKER_HOST")
        or default_host(environment)
    )
    kind, separator, rest = url.partition("://")
    if kind == "unix" and rest:
        return Address(url, path=rest)
    if kind in ("ssh", "npipe", "fd"):
        raise UnsupportedError(f"{url}: {kind}:// is not supported, unix:// and tcp:// are")
    if not separator or kind not in ("tcp", "http", "https") or not rest:
        raise InvalidError(
            f"unable to parse docker host `{url}`: use unix:///path/to/socket or tcp://host:port"
        )
    if tls is None and (kind == "https" or _wants_tls(environment)):
        tls = tls_files(environment)
    name, port = _host_port(rest.partition("/")[0], _TCP_PORT if tls is None else _TLS_PORT)
    return Address(url, host=name, port=port, tls=tls)


def _wants_tls(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("DOCKER_TLS_VERIFY") or environment.get("DOCKER_TLS"))


def tls_files(environment: Mapping[str, str], verify: bool | None = None) -> Tls:
    """Return the files of DOCKER_CERT_PATH, or of Docker's configuration directory."""
    folder = (
        environment.get("DOCKER_CERT_PATH")
        or environment.get("DOCKER_CONFIG")
        or os.path.expanduser("~/.docker")
    )
    names = [os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key")]
    ca, certificate, key = (name if os.path.exists(name) else "" for name in names)
    if verify is None:
        verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    return Tls(ca, certificate, key, verify)


def _host_port(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if not port:
        return name or "localhost", default
    if not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InvalidError(f"invalid port in the daemon's address: {text}")
    return name or "localhost", int(port)
