"""Bridges and what else the host has for devices. Blocks; one thread only.

What the engine makes carries its mark, so that a later engine finds what was left behind, and
touches nothing else.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from sampan.base.errors import ConflictError, UnavailableError
from sampan.engine.network.core.ipam import Subnet
from sampan.engine.network.core.model import NetworkRecord
from sampan.engine.network.core.rtnetlink import (
    Link,
    add_address,
    add_bridge,
    delete_link,
    find_link,
    list_addresses,
    list_links,
    list_routes,
    parse_address,
    parse_link,
    parse_route,
    remove_address,
    set_link,
)
from sampan.engine.network.shell.netlink import NetlinkError, NetlinkSocket
from sampan.engine.network.shell.settings import write_setting

__all__ = ["Bridges"]

_LOG = logging.getLogger(__name__)
_ALIAS: Final = "sampan "
Interface = IPv4Interface | IPv6Interface


class Bridges:
    """The bridges of networks, over a socket in the engine's own namespace."""

    def __init__(self, route: NetlinkSocket, mark: str, guarded: Callable[[], bool]) -> None:
        self._route = route
        self.guarded = guarded
        self.alias = _ALIAS + mark

    def links(self) -> list[Link]:
        """Return all devices."""
        return [parse_link(one) for one in self._route.dump(list_links())]

    def link(self, name: str) -> Link | None:
        """Return one device."""
        try:
            return parse_link(self._route.ask(find_link(name)))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def routes(self) -> list[Subnet]:
        """Return the destinations that this host reaches otherwise than by default."""
        found: list[Subnet] = []
        for version in (4, 6):
            for payload in self._route.dump(list_routes(version=version)):
                route = parse_route(payload)
                if route is not None and route.destination is not None:
                    found.append(route.destination)
        return found

    def addresses_of_others(self, name: str) -> list[Interface]:
        """Return the addresses of a bridge that somebody else has made; none without it."""
        found = self.link(name)
        if found is None or found.alias == self.alias:
            return []
        return self._addresses_of(found.index)

    def _addresses_of(self, index: int) -> list[Interface]:
        pairs = [parse_address(one) for one in self._route.dump(list_addresses())]
        return [pair[1] for pair in pairs if pair is not None and pair[0] == index]

    def ensure(self, record: NetworkRecord, addresses: Sequence[Interface]) -> Link:
        """Make a network's bridge, or set right the one that is there; returns it.

        A bridge that somebody else has made is used as it is; one that an engine with another data
        directory has left is taken over. Raises ConflictError for a bridge that such an engine
        uses, and for a device of that name that is no bridge.
        """
        name = record.bridge
        found = self.link(name) or self._make(record)
        if found.kind != "bridge":
            raise ConflictError(f"a device named {name} is there, and it is no bridge")
        if found.alias != self.alias and found.alias.startswith(_ALIAS):
            found = self._take_over(found)
        index = found.index
        changes = [add_address(index, one) for one in addresses]
        if found.alias == self.alias:
            # Routers are not among containers: none may tell the host where to send what.
            write_setting(f"ipv6/conf/{name}/accept_ra", "0")
            stale = [one for one in self._addresses_of(index) if one not in addresses]
            changes = [*(remove_address(index, one) for one in stale), *changes]
            if found.mtu != record.mtu:
                changes.append(set_link("", index=index, mtu=record.mtu))
        if not found.up:
            changes.append(set_link("", index=index, up=True))
        self._route.change(changes, tolerate=(errno.EACCES, errno.EADDRNOTAVAIL))
        self.lead_loopback(name)
        return found

    def lead_loopback(self, name: str) -> None:
        """Let published ports be reached by 127.0.0.1 over a bridge, if rules guard that address.

        Without them its containers could reach what listens on the host's loopback only.
        """
        write_setting(f"ipv4/conf/{name}/route_localnet", "1" if self.guarded() else "0")

    def _take_over(self, bridge: Link) -> Link:
        """Make the bridge of another data directory this engine's, if nothing is in it."""
        if any(one.master == bridge.index and one.up for one in self.links()):
            raise ConflictError(
                f"bridge {bridge.name} belongs to another engine, and containers are in it: choose "
                "another one with --bridge"
            )
        self._route.change([set_link("", index=bridge.index, alias=self.alias)])
        return dataclasses.replace(bridge, alias=self.alias)

    def _make(self, record: NetworkRecord) -> Link:
        name = record.bridge
        mac = b"\x02\x42" + hashlib.sha256(record.id.encode()).digest()[:4]
        made = add_bridge(name, mac=mac.hex(":"), mtu=record.mtu)
        try:
            self._route.change([made, set_link(name, alias=self.alias)])
        except OSError as error:
            hint = " (without the right to, use --bridge=none)"
            hint = hint if error.errno == errno.EPERM else ""
            raise UnavailableError(f"cannot make bridge {name}: {error.strerror}{hint}") from error
        found = self.link(name)
        if found is None:
            raise UnavailableError(f"bridge {name} is gone as soon as it was made")
        return found

    def remove(self, name: str) -> None:
        """Remove a bridge, if this engine has made it; no harm when it is gone."""
        found = self.link(name)
        if found is not None and found.alias == self.alias:
            self._route.change([delete_link(name)], tolerate=(errno.ENODEV,))

    def remove_leftovers(self, bridges: Collection[str], devices: Collection[str]) -> None:
        """Remove what this engine has made but these bridges and these devices of endpoints."""
        kept = {"bridge": bridges, "veth": devices}
        for one in self.links():
            if one.alias == self.alias and one.name not in kept.get(one.kind, ()):
                _LOG.info("removing %s, which an earlier engine has left", one.name)
                self._route.change([delete_link(one.name)], tolerate=(errno.ENODEV,))
