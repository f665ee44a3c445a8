"""What networks, endpoints, ports and sandboxes are, and how they look on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.network.core.ipam import Address, Subnet, parse_subnet

__all__ = [
    "AS_THE_HOST",
    "BRIDGE_OPTION",
    "DnsSettings",
    "Endpoint",
    "EndpointRequest",
    "IpamConfig",
    "NetworkRecord",
    "PortMapping",
    "Sandbox",
    "mac_of",
]

BRIDGE_OPTION: Final = "com.docker.network.bridge."
Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """One subnet of a network, as texts; `chosen` when the engine and not the user chose it."""

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    chosen: bool = False

    @property
    def network(self) -> Subnet:
        """The subnet as a value."""
        return parse_subnet(self.subnet)


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network. `driver` is bridge, host or null; only a bridge has addresses."""

    id: str
    name: str
    driver: str
    created: str
    ipam: Sequence[IpamConfig] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    ipam_options: Mapping[str, str] = field(default_factory=dict)
    predefined: bool = False

    @property
    def bridge(self) -> str:
        """The name of its device."""
        return self.options.get(BRIDGE_OPTION + "name") or f"br-{self.id[:12]}"

    @property
    def mtu(self) -> int:
        """The largest packet of its devices, in bytes."""
        return int(self.options.get("com.docker.network.driver.mtu") or 1500)

    @property
    def interface_prefix(self) -> str:
        """What devices of endpoints are called inside, without their numbers."""
        return self.options.get("com.docker.network.container_iface_prefix") or "eth"

    @property
    def host_ip(self) -> str:
        """Where ports are published unless the client says otherwise; empty: as the daemon says."""
        return self.options.get(BRIDGE_OPTION + "host_binding_ipv4", "")

    def flag(self, name: str, default: bool = True) -> bool:
        """Return a truth value among the bridge driver's options."""
        text = self.options.get(BRIDGE_OPTION + name)
        return default if text is None else text.lower() in ("1", "t", "true")

    @property
    def has_names(self) -> bool:
        """Tell whether containers find each other by name: in every network but the default."""
        return self.driver == "bridge" and not self.predefined

    def document(self) -> dict[str, Any]:
        """Return what is kept on disk."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> NetworkRecord:
        """Return the record of a kept document; InvalidError when it is none."""
        try:
            ipam = tuple(IpamConfig(**one) for one in document["ipam"])
            return cls(**{**document, "ipam": ipam})
        except (TypeError, KeyError) as error:
            raise InvalidError(f"network record: {error}") from None


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A wish to be in a network.

    `network` is its id. Addresses and the hardware address are chosen where they are empty.
    `names` are what others in the network find it by; `links` are names that only its owner knows:
    alias to a name in the network.
    """

    network: str
    address: str = ""
    address6: str = ""
    mac: str = ""
    names: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    """Of several networks the one with the highest gives the default route."""

    interface: str = ""
    settings: Sequence[str] = ()
    """Kernel settings of the device inside: `ipv4/conf/DEVICE/forwarding=1`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place in a network, taken. `interface` is the device inside, `device` its other end."""

    id: str
    network: str
    interface: str
    device: str
    mac: str
    address: str = ""
    """With its prefix length: 172.17.0.2/16."""
    gateway: str = ""
    address6: str = ""
    gateway6: str = ""
    names: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    settings: Sequence[str] = ()

    def interfaces(self) -> list[Interface]:
        """Return its addresses as values."""
        return [ip_interface(one) for one in (self.address, self.address6) if one]

    def addresses(self) -> list[Address]:
        """Return its addresses without their lengths."""
        return [one.ip for one in self.interfaces()]

    def gateways(self) -> list[Address]:
        """Return its gateways."""
        return [ip_address(one) for one in (self.gateway, self.gateway6) if one]


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of a sandbox shown on the host.

    As a wish, `host_port` 0 means any of the ephemeral ones, and `host_port_end` above it any of a
    range; an empty `host_ip` means all addresses. As a fact both are settled.
    """

    protocol: str
    port: int
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Where a sandbox's questions about other names go; empty means as the host's."""

    servers: Sequence[str] = ()
    search: Sequence[str] = ()
    options: Sequence[str] = ()


AS_THE_HOST: Final = DnsSettings()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A network namespace with its endpoints and published ports; `path` is for setns(2).

    `owner` says who has to claim it after a restart: see `Networks.close_unclaimed`.
    """

    key: str
    path: str
    endpoints: Sequence[Endpoint] = ()
    ports: Sequence[PortMapping] = ()
    dns: DnsSettings = AS_THE_HOST
    owner: str = "container"

    def document(self) -> dict[str, Any]:
        """Return what is kept for the next engine."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Sandbox:
        """Return the sandbox of a kept document; InvalidError when it is none."""
        try:
            return cls(
                document["key"],
                document["path"],
                tuple(Endpoint(**one) for one in document["endpoints"]),
                tuple(PortMapping(**one) for one in document["ports"]),
                DnsSettings(**document["dns"]),
                document["owner"],
            )
        except (TypeError, KeyError) as error:
            raise InvalidError(f"sandbox record: {error}") from None

    def endpoint(self, network: str) -> Endpoint | None:
        """Return its endpoint in a network."""
        return next((one for one in self.endpoints if one.network == network), None)

    def gateway_endpoint(self, version: int = 4) -> Endpoint | None:
        """Return the endpoint that gives the default route."""
        having = [one for one in self.endpoints if (one.gateway6 if version == 6 else one.gateway)]
        return max(having, key=lambda one: one.priority, default=None)


def mac_of(address: Address) -> str:
    """Return the hardware address that belongs to an address: it comes back with the address."""
    return (b"\x02\x42" + address.packed[-4:]).hex(":")
