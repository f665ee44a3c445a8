"""Plugging sandboxes into bridges: namespaces, pairs of devices, addresses, routes.

Blocks; one thread only.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.base.errors import InvalidError, SampanError, UnavailableError
from sampan.engine.network.core.model import Endpoint, NetworkRecord
from sampan.engine.network.core.network import Network
from sampan.engine.network.core.rtnetlink import (
    add_address,
    add_route,
    add_veth,
    delete_link,
    find_link,
    parse_link,
    set_link,
    set_port,
)
from sampan.engine.network.shell import namespace
from sampan.engine.network.shell.bridges import Bridges
from sampan.engine.network.shell.netlink import NetlinkSocket
from sampan.engine.network.shell.questions import ResolverSockets, open_resolver
from sampan.engine.network.shell.settings import bridges_ask, write_setting

__all__ = ["Plugs", "Wiring"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wiring:
    """An endpoint, what its network says about devices, and whether its sandbox publishes ports."""

    endpoint: Endpoint
    record: NetworkRecord
    published: bool = False


@dataclass(frozen=True, slots=True)
class _Side:
    """The engine's end: the bridge's index, and whether bridges ask the packet rules."""

    bridge: int
    asks: bool


class Plugs:
    """Makes endpoints and takes them away, over a socket in the engine's own namespace."""

    def __init__(self, route: NetlinkSocket, bridges: Bridges) -> None:
        self._route = route
        self._bridges = bridges

    def make_sandbox(
        self, path: Path, wirings: Sequence[Wiring], *, names: bool
    ) -> ResolverSockets | None:
        """Make a namespace with everything in it; with `names` return where its questions arrive.

        Nothing stays when it fails.
        """
        sockets: ResolverSockets | None = None
        sides = [self._side(one) for one in wirings]
        try:
            with namespace.created(path) as fd:
                if not any(one.endpoint.address6 for one in wirings):
                    write_setting("ipv6/conf/default/disable_ipv6", "1")
                inside = NetlinkSocket()
                try:
                    inside.change([set_link("lo", up=True)])
                    sockets = open_resolver() if names else None
                    for one, side in zip(wirings, sides, strict=True):
                        self._plug(one, fd, side)
                        configure(inside, one.endpoint)
                    set_default_routes(inside, [one.endpoint for one in wirings])
                finally:
                    inside.close()
        except BaseException:
            if sockets is not None:
                sockets.close()
            self.unplug([one.endpoint for one in wirings])
            raise
        return sockets

    def _side(self, wiring: Wiring) -> _Side:
        """Return what is to be known of the engine's own namespace before another is entered.

        A bridge that somebody has removed is made again.
        """
        record = wiring.record
        bridge = self._bridges.link(record.bridge)
        if bridge is None:
            _LOG.warning("bridge %s is gone: it is made anew", record.bridge)
            bridge = self._bridges.ensure(record, Network(record).bridge_addresses())
        return _Side(bridge.index, bridges_ask())

    def _plug(self, wiring: Wiring, fd: int, side: _Side) -> None:
        """Make an endpoint's pair of devices; this end is made in the engine's namespace."""
        endpoint, record, asks = wiring.endpoint, wiring.record, side.asks
        messages = [
            add_veth(
                endpoint.device,
                side.bridge,
                record.mtu,
                peer=endpoint.interface,
                peer_mac=endpoint.mac,
                netns_fd=fd,
            ),
            set_link(endpoint.device, alias=self._bridges.alias),
        ]
        # Where bridges ask the packet rules, those keep neighbours apart, and let them to published
        # ports. And a container that calls a published port of its own gets its own frames back.
        isolated = not record.flag("enable_icc") and not asks
        if isolated or wiring.published:
            hairpin = wiring.published and asks
            messages.append(set_port(endpoint.device, isolated=isolated, hairpin=hairpin))
        try:
            self._route.change(messages)
        except OSError as error:
            raise UnavailableError(
                f"cannot plug {endpoint.interface} into {record.bridge}: {error.strerror}"
            ) from error

    def reopen_resolver(self, path: Path) -> ResolverSockets:
        """Open the sockets of a sandbox again that has outlived an engine, or has none yet."""
        with namespace.entered(path):
            return open_resolver()

    def add_endpoint(self, path: Path, wiring: Wiring, default: Sequence[Endpoint]) -> None:
        """Add an endpoint to a sandbox; `default` are all of its endpoints, to route by."""
        side = self._side(wiring)
        try:
            with namespace.entered(path) as fd:
                if wiring.endpoint.address6:
                    write_setting("ipv6/conf/default/disable_ipv6", "0")
                inside = NetlinkSocket()
                try:
                    self._plug(wiring, fd, side)
                    configure(inside, wiring.endpoint)
                    set_default_routes(inside, default)
                finally:
                    inside.close()
        except BaseException:
            self.unplug([wiring.endpoint])
            raise

    def remove_endpoint(self, path: Path, endpoint: Endpoint, left: Sequence[Endpoint]) -> None:
        """Take an endpoint out of a sandbox."""
        self._route.change([delete_link(endpoint.device)], tolerate=(errno.ENODEV,))
        with namespace.entered(path):
            inside = NetlinkSocket()
            try:
                set_default_routes(inside, left)
            finally:
                inside.close()

    def silence(self, endpoints: Sequence[Endpoint]) -> None:
        """Switch endpoints off at once; their devices go with the namespace, a little later.

        Removing devices takes the kernel some 20 ms each, switching them off a tenth of one.
        """
        changes = [set_link(one.device, up=False) for one in endpoints]
        self._route.change(changes, tolerate=(errno.ENODEV,))

    def unplug(self, endpoints: Sequence[Endpoint]) -> None:
        """Remove the devices of endpoints, as far as they are there."""
        try:
            changes = [delete_link(one.device) for one in endpoints]
            self._route.change(changes, tolerate=(errno.ENODEV,))
        except (OSError, SampanError) as error:
            _LOG.warning("a device could not be removed: %s", error)


def configure(inside: NetlinkSocket, endpoint: Endpoint) -> None:
    """Switch an endpoint's device on and give it its addresses, by the thread in its namespace."""
    index = parse_link(inside.ask(find_link(endpoint.interface))).index
    changes = [add_address(index, one) for one in endpoint.interfaces()]
    for setting in endpoint.settings:
        path, _, value = setting.partition("=")
        if not write_setting(path.replace("DEVICE", endpoint.interface), value):
            raise InvalidError(f"unable to set sysctl {setting} of {endpoint.interface}")
    inside.change([set_link("", index=index, up=True), *changes])


def set_default_routes(inside: NetlinkSocket, endpoints: Sequence[Endpoint]) -> None:
    """Let the default routes go over the endpoint of the highest priority."""
    for version in (4, 6):
        having = [
            (one, gateway)
            for one in endpoints
            for gateway in one.gateways()
            if gateway.version == version
        ]
        if having:
            best, gateway = max(having, key=lambda pair: pair[0].priority)
            index = parse_link(inside.ask(find_link(best.interface))).index
            inside.change([add_route(index, gateway)])
