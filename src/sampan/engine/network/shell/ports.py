"""Ports of the host that sandboxes publish: chosen, and held so that nobody else gets them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from sampan.base.errors import ConflictError, InvalidError, UnsupportedError
from sampan.engine.network.core.model import PortMapping

__all__ = ["Held", "HostPorts"]

_BACKLOG: Final = 128
_SCTP: Final = 132


@dataclass(frozen=True, slots=True)
class Held:
    """A published port and the socket that holds it; without one where the kernel has no SCTP."""

    mapping: PortMapping
    socket: socket.socket | None


class HostPorts:
    """What is held for whom."""

    def __init__(self, default_ip: str) -> None:
        self._default_ip = default_ip
        self._held: dict[str, list[Held]] = {}
        self._used: dict[tuple[str, int], list[str]] = {}
        self._ephemeral: tuple[int, int] | None = None
        self._next = 0

    def reserve(
        self, key: str, wishes: Sequence[PortMapping], versions: set[int], default_ip: str = ""
    ) -> list[Held]:
        """Take a host port for every wish, on all host addresses that it means.

        `versions` are the IP versions to be served. A wish without an address means `default_ip`,
        and without that what the daemon was told. Raises ConflictError in Docker's words when a
        port is taken; then nothing is held.
        """
        held = self._held.setdefault(key, [])
        before = len(held)
        try:
            for wish in wishes:
                addresses = self._addresses(wish.host_ip, default_ip, versions)
                if addresses:
                    held += self._reserve(wish, addresses)
        except BaseException:
            self._let_go(held[before:])
            del held[before:]
            if not held:
                del self._held[key]
            raise
        return held[before:]

    def held(self, key: str) -> Sequence[Held]:
        """Return what is held for a sandbox."""
        return self._held.get(key, ())

    def release(self, key: str) -> None:
        """Give a sandbox's ports back."""
        self._let_go(self._held.pop(key, []))

    def _let_go(self, held: Sequence[Held]) -> None:
        for one in held:
            if one.socket is not None:
                one.socket.close()
            place = one.mapping.protocol, one.mapping.host_port
            self._used[place].remove(one.mapping.host_ip)
            if not self._used[place]:
                del self._used[place]

    def _addresses(self, host_ip: str, default_ip: str, versions: set[int]) -> list[str]:
        if host_ip:
            try:
                address = ip_address(host_ip)
            except ValueError:
                raise InvalidError(f"invalid IP address: {host_ip}") from None
            return [str(address)] if address.version in versions else []
        default = ip_address(default_ip or self._default_ip)
        if not default.is_unspecified:
            return [str(default)]
        return [one for one in ("0.0.0.0", "::") if ip_address(one).version in versions]

    def _reserve(self, wish: PortMapping, addresses: Sequence[str]) -> list[Held]:
        """Hold one port on all addresses."""
        error: Exception | None = None
        for port in self._candidates(wish):
            held: list[Held] = []
            try:
                for address in addresses:
                    one = self._hold(wish, address, port)
                    held.append(one)
                return held
            except ConflictError as taken:
                self._let_go(held)
                error = taken
        if wish.host_port and error is not None and not wish.host_port_end:
            raise error
        raise ConflictError("all ports are allocated")

    def _candidates(self, wish: PortMapping) -> Iterator[int]:
        if wish.host_port:
            yield from range(wish.host_port, max(wish.host_port, wish.host_port_end) + 1)
            return
        if self._ephemeral is None:
            self._ephemeral = _ephemeral_range()
        first, last = self._ephemeral
        for _ in range(last - first + 1):
            port = self._next if first <= self._next <= last else first
            self._next = port + 1
            yield port

    def _hold(self, wish: PortMapping, address: str, port: int) -> Held:
        place = wish.protocol, port
        used = self._used.get(place, [])
        if any(_same(address, one) for one in used):
            shown = f"[{address}]" if ":" in address else address
            raise ConflictError(f"Bind for {shown}:{port} failed: port is already allocated")
        sock = _bind(wish, address, port)
        self._used.setdefault(place, used).append(address)
        return Held(PortMapping(wish.protocol, wish.port, address, port), sock)


def _same(one: str, other: str) -> bool:
    """Tell whether two addresses cannot have the same port."""
    if ip_address(one).version != ip_address(other).version:
        return False
    return one == other or ip_address(one).is_unspecified or ip_address(other).is_unspecified


def _bind(wish: PortMapping, address: str, port: int) -> socket.socket | None:
    version6 = ":" in address
    family = socket.AF_INET6 if version6 else socket.AF_INET
    kind = socket.SOCK_DGRAM if wish.protocol == "udp" else socket.SOCK_STREAM
    number = _SCTP if wish.protocol == "sctp" else 0
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if wish.protocol == "sctp":
            return None  # by the rules alone: who has no SCTP cannot take its ports either
        raise UnsupportedError(f"cannot publish on {address}: {error.strerror}") from error
    try:
        if version6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        shown = f"[{address}]" if version6 else address
        where = f"failed to bind host port {shown}:{port}/{wish.protocol}"
        raise ConflictError(f"{where}: {os.strerror(error.errno or errno.EIO).lower()}") from error
    return sock


def _ephemeral_range() -> tuple[int, int]:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        first, last = map(int, text.split())
    except (OSError, ValueError):
        return 49153, 65535
    return first, last
