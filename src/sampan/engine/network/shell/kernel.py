"""What the engine makes in the kernel: bridges, sandboxes, packet rules. Blocks; one thread only.

Whatever is made carries the engine's mark, so that a later engine finds what was left behind.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Final

from sampan.base.errors import ConflictError, SampanError, UnavailableError
from sampan.engine.network.core import ruleset
from sampan.engine.network.core.conntrack import delete_flow, flow_to, list_flows
from sampan.engine.network.core.ipam import Subnet
from sampan.engine.network.core.model import Endpoint, NetworkRecord
from sampan.engine.network.core.netlink import Message
from sampan.engine.network.core.nftables import (
    IPV4,
    IPV6,
    Elements,
    batch,
    delete_table,
    elements,
    empty_map,
    make_table,
)
from sampan.engine.network.core.rtnetlink import (
    Link,
    add_address,
    add_bridge,
    add_route,
    add_veth,
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
    set_port,
)
from sampan.engine.network.shell import namespace
from sampan.engine.network.shell.netlink import NETFILTER, NetlinkError, NetlinkSocket

__all__ = ["NAMES_ADDRESS", "Kernel", "ResolverSockets", "Wiring"]

_LOG = logging.getLogger(__name__)
NAMES_ADDRESS: Final = "127.0.0.11"
_NAMES_PORT: Final = 53
_ALIAS: Final = "sampan "
_FLOWS_AT_ONCE: Final = 64
Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Wiring:
    """An endpoint and what its network says about devices."""

    endpoint: Endpoint
    record: NetworkRecord
    published: bool = False


@dataclass(frozen=True, slots=True)
class ResolverSockets:
    """Where the questions of a sandbox arrive."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        """Close both."""
        self.udp.close()
        self.tcp.close()


class Kernel:
    """Netlink in the namespace that the engine runs in."""

    def __init__(self, mark: str, families: Collection[int]) -> None:
        self._mark = _ALIAS + mark
        self._families = families
        self._route: NetlinkSocket | None = None
        self._filter: NetlinkSocket | None = None

    def close(self) -> None:
        """Close the sockets; what was made stays."""
        for one in (self._route, self._filter):
            if one is not None:
                one.close()
        self._route = self._filter = None

    @property
    def route(self) -> NetlinkSocket:
        """The socket for devices; opened when it is first needed."""
        if self._route is None:
            self._route = NetlinkSocket()
        return self._route

    @property
    def has_rules(self) -> bool:
        """Tell whether packet rules are in force."""
        return self._filter is not None

    def leads(self, version: int) -> bool:
        """Tell whether packet rules lead published ports of an IP version to containers."""
        family = {4: IPV4, 6: IPV6}[version]
        return self._filter is not None and family in self._families

    def make_rules(
        self, records: Sequence[NetworkRecord], ports: Sequence[tuple[int, Elements]]
    ) -> bool:
        """Put all packet rules in place at once, instead of what was there.

        Returns False without nf_tables, and without --iptables: then what was there goes.
        """
        if self._filter is None:
            self._filter = NetlinkSocket(NETFILTER)
        try:
            for family in ruleset.FAMILIES:
                if family not in self._families:
                    self._filter.transact(batch(delete_table(ruleset.TABLE, family)))
            if self._families:
                self._make_tables(records, ports)
                return True
        except OSError as error:
            _LOG.warning("no packet rules, ports are published by copying: %s", error)
        self._filter.close()
        self._filter = None
        return False

    def _make_tables(
        self, records: Sequence[NetworkRecord], ports: Sequence[tuple[int, Elements]]
    ) -> None:
        assert self._filter is not None
        for replace in (False, True):
            commands = ruleset.whole(self._families, records, ports, replace=replace)
            try:
                self._filter.transact(batch(commands))
            except NetlinkError as error:
                if error.errno != errno.EEXIST or replace:
                    raise
            else:
                return

    def change_rules(
        self, changes: Sequence[tuple[int, Elements]], *, remove: bool = False
    ) -> None:
        """Add elements to the rules' maps, or remove them; all or none."""
        changes = [one for one in changes if one[0] in self._families]
        if self._filter is None or not changes:
            return
        commands: list[Message] = []
        for family, change in changes:
            commands += elements(ruleset.TABLE, family, change, remove=remove)
        try:
            self._filter.transact(batch(commands))
        except NetlinkError as error:
            if not (remove and error.errno == errno.ENOENT):
                raise
            self._remove_one_by_one(changes)

    def _remove_one_by_one(self, changes: Sequence[tuple[int, Elements]]) -> None:
        """Remove those elements that are there."""
        assert self._filter is not None
        for family, change in changes:
            for item in change.items:
                one = elements(ruleset.TABLE, family, Elements(change.map, (item,)), remove=True)
                try:
                    self._filter.transact(batch(one))
                except NetlinkError as error:
                    if error.errno != errno.ENOENT:
                        raise

    def forget_flows(self, udp_ports: Collection[int]) -> None:
        """Let flows of datagrams to ports of the host begin anew, by the rules of now."""
        if self._filter is None or not udp_ports:
            return
        try:
            found = [flow_to(one, udp_ports) for one in self._filter.dump(list_flows())]
            flows = [delete_flow(one) for one in found if one is not None]
            for at in range(0, len(flows), _FLOWS_AT_ONCE):
                batch_ = flows[at : at + _FLOWS_AT_ONCE]
                self._filter.change(batch_, tolerate=(errno.ENOENT,))
        except OSError as error:
            _LOG.debug("flows of datagrams stay as they are: %s", error)

    def links(self) -> list[Link]:
        """Return all devices."""
        return [parse_link(one) for one in self.route.dump(list_links())]

    def link(self, name: str) -> Link | None:
        """Return one device."""
        try:
            return parse_link(self.route.ask(find_link(name)))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def routes(self) -> list[Subnet]:
        """Return the destinations that this host reaches otherwise than by default."""
        found: list[Subnet] = []
        for version in (4, 6):
            for payload in self.route.dump(list_routes(version=version)):
                route = parse_route(payload)
                if route is not None and route.destination is not None:
                    found.append(route.destination)
        return found

    def bridge_of_others(self, name: str) -> list[Interface]:
        """Return the addresses of a bridge that somebody else has made; none without it."""
        found = self.link(name)
        if found is None or found.alias == self._mark:
            return []
        return self._addresses_of(found.index)

    def _addresses_of(self, index: int) -> list[Interface]:
        pairs = [parse_address(one) for one in self.route.dump(list_addresses())]
        return [pair[1] for pair in pairs if pair is not None and pair[0] == index]

    def ensure_bridge(self, record: NetworkRecord, addresses: Sequence[Interface]) -> None:
        """Make a network's bridge, or set right the one that is there.

        Raises ConflictError when a device of that name is not this engine's.
        """
        name = record.bridge
        found = self.link(name)
        if found is None:
            mac = b"\x02\x42" + hashlib.sha256(record.id.encode()).digest()[:4]
            made = [add_bridge(name, mac=mac.hex(":"), mtu=record.mtu)]
            try:
                self.route.change([*made, set_link(name, alias=self._mark)])
            except OSError as error:
                hint = " (without the right to, use --bridge=none)"
                hint = hint if error.errno == errno.EPERM else ""
                raise UnavailableError(
                    f"cannot make bridge {name}: {error.strerror}{hint}"
                ) from error
            found = self.link(name)
            assert found is not None
        elif found.kind != "bridge":
            raise ConflictError(f"a device named {name} is there, and it is no bridge")
        elif found.alias not in (self._mark, "") and found.alias.startswith(_ALIAS):
            raise ConflictError(f"bridge {name} belongs to another engine")
        index = found.index
        changes = [add_address(index, one) for one in addresses]
        if found.alias == self._mark:
            stale = [one for one in self._addresses_of(index) if one not in addresses]
            changes = [*(remove_address(index, one) for one in stale), *changes]
            if found.mtu != record.mtu:
                changes.append(set_link("", index=index, mtu=record.mtu))
        if not found.up:
            changes.append(set_link("", index=index, up=True))
        self.route.change(changes, tolerate=(errno.EACCES, errno.EADDRNOTAVAIL))
        write_setting(f"ipv4/conf/{name}/route_localnet", "1")

    def remove_bridge(self, name: str) -> None:
        """Remove a bridge; no harm when it is gone."""
        self.route.change([delete_link(name)], tolerate=(errno.ENODEV,))

    def remove_leftovers(self, bridges: Collection[str], devices: Collection[str]) -> None:
        """Remove this engine's bridges but those, and on those all ports but the devices named."""
        links = self.links()
        own = [one for one in links if one.kind == "bridge"]
        own = [one for one in own if one.alias == self._mark or one.name in bridges]
        ports = {one.index for one in own}
        strays = [one for one in links if one.kind == "veth" and one.master in ports]
        strays = [one for one in strays if one.name not in devices]
        strays += [one for one in own if one.name not in bridges]
        for one in strays:
            _LOG.info("removing %s, which an earlier engine has left", one.name)
            self.route.change([delete_link(one.name)], tolerate=(errno.ENODEV,))

    def make_sandbox(
        self, path: Path, wirings: Sequence[Wiring], *, names: bool
    ) -> ResolverSockets | None:
        """Make a namespace with everything in it; with `names` return where its questions arrive.

        Nothing stays when it fails.
        """
        sockets: ResolverSockets | None = None
        asks = bridges_ask()
        try:
            with namespace.created(path) as fd:
                if not any(one.endpoint.address6 for one in wirings):
                    write_setting("ipv6/conf/default/disable_ipv6", "1")
                inside = NetlinkSocket()
                try:
                    inside.change([set_link("lo", up=True)])
                    sockets = self._open_resolver() if names else None
                    for one in wirings:
                        self._plug(one, fd, asks)
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

    def _plug(self, wiring: Wiring, fd: int, asks: bool) -> None:
        """Make an endpoint's pair of devices; this end is made in the engine's namespace."""
        endpoint, record = wiring.endpoint, wiring.record
        bridge = self.link(record.bridge)
        if bridge is None:
            raise UnavailableError(f"bridge {record.bridge} of network {record.name} is gone")
        messages = [
            add_veth(
                endpoint.device,
                bridge.index,
                record.mtu,
                peer=endpoint.interface,
                peer_mac=endpoint.mac,
                netns_fd=fd,
            )
        ]
        # Where bridges ask the packet rules, those keep neighbours apart, and let them to published
        # ports. And a container that calls a published port of its own gets its own frames back.
        isolated = not record.flag("enable_icc") and not asks
        if isolated or wiring.published:
            hairpin = wiring.published and asks
            messages.append(set_port(endpoint.device, isolated=isolated, hairpin=hairpin))
        try:
            self.route.change(messages)
        except OSError as error:
            raise UnavailableError(
                f"cannot plug {endpoint.interface} into {record.bridge}: {error.strerror}"
            ) from error

    def _open_resolver(self) -> ResolverSockets:
        """Open the sockets for questions in the present namespace, and lead port 53 to them.

        Without nf_tables in there they are on port 53 themselves.
        """
        found = _listen_for_names(0)
        ports = found.udp.getsockname()[1], found.tcp.getsockname()[1]
        try:
            _lead_to_resolver(*ports)
        except OSError as error:
            _LOG.debug("no packet rules in a container's network: %s", error)
            found.close()
            found = _listen_for_names(_NAMES_PORT)
        return found

    def reopen_resolver(self, path: Path) -> ResolverSockets:
        """Open the sockets of a sandbox again that has outlived an engine, or has none yet."""
        with namespace.entered(path):
            return self._open_resolver()

    def add_endpoint(self, path: Path, wiring: Wiring, default: Sequence[Endpoint]) -> None:
        """Add an endpoint to a sandbox; `default` are all of its endpoints, to route by."""
        asks = bridges_ask()
        try:
            with namespace.entered(path) as fd:
                if wiring.endpoint.address6:
                    write_setting("ipv6/conf/default/disable_ipv6", "0")
                inside = NetlinkSocket()
                try:
                    self._plug(wiring, fd, asks)
                    configure(inside, wiring.endpoint)
                    set_default_routes(inside, default)
                finally:
                    inside.close()
        except BaseException:
            self.unplug([wiring.endpoint])
            raise

    def remove_endpoint(self, path: Path, endpoint: Endpoint, left: Sequence[Endpoint]) -> None:
        """Take an endpoint out of a sandbox."""
        self.route.change([delete_link(endpoint.device)], tolerate=(errno.ENODEV,))
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
        self.route.change(changes, tolerate=(errno.ENODEV,))

    def unplug(self, endpoints: Sequence[Endpoint]) -> None:
        """Remove the devices of endpoints, as far as they are there."""
        try:
            changes = [delete_link(one.device) for one in endpoints]
            self.route.change(changes, tolerate=(errno.ENODEV,))
        except (OSError, SampanError) as error:
            _LOG.warning("a device could not be removed: %s", error)


def _listen_for_names(port: int) -> ResolverSockets:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    found = ResolverSockets(udp, tcp)
    try:
        udp.bind((NAMES_ADDRESS, port))
        tcp.bind((NAMES_ADDRESS, port))
        tcp.listen(16)
    except BaseException:
        found.close()
        raise
    return found


def _lead_to_resolver(udp_port: int, tcp_port: int) -> None:
    """Send questions for port 53 of the present namespace to the sockets at these ports."""
    servers = ruleset.resolver_servers(NAMES_ADDRESS, udp_port, tcp_port)
    name = ruleset.RESOLVER_TABLE
    added = elements(name, IPV4, servers)
    rules = NetlinkSocket(NETFILTER)
    try:
        table = make_table(ruleset.resolver_table(NAMES_ADDRESS), replace=False)
        rules.transact(batch([*table, *added]))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        rules.transact(batch([*empty_map(name, IPV4, servers.map), *added]))
    finally:
        rules.close()


def configure(inside: NetlinkSocket, endpoint: Endpoint) -> None:
    """Switch an endpoint's device on and give it its addresses, over a socket in its namespace."""
    index = parse_link(inside.ask(find_link(endpoint.interface))).index
    changes = [add_address(index, one) for one in endpoint.interfaces()]
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


def write_setting(path: str, value: str) -> bool:
    """Write a kernel setting of the thread's network namespace; False when it is not there."""
    try:
        with open(f"/proc/sys/net/{path}", "w") as file:
            file.write(value)
    except OSError:
        return False
    return True


def bridges_ask() -> bool:
    """Tell whether packets within a bridge pass the packet rules (br_netfilter)."""
    return read_setting("bridge/bridge-nf-call-iptables") == "1"


def read_setting(path: str) -> str:
    """Return a kernel setting of the thread's network namespace, empty without it."""
    try:
        return Path(f"/proc/sys/net/{path}").read_text().strip()
    except OSError:
        return ""
