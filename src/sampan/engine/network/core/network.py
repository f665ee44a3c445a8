"""A network in use: its record, what is free in its subnets, and who is in it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network

from sampan.base.errors import DeniedError, InvalidError, LimitError, SampanError
from sampan.engine.network.core.ipam import Address, AddressPool, Subnet, parse_address
from sampan.engine.network.core.model import Endpoint, IpamConfig, NetworkRecord

__all__ = ["Network"]


class Network:
    """Gives out addresses. `members` are its endpoints by the key of their sandbox."""

    def __init__(self, record: NetworkRecord) -> None:
        self.record = record
        self.members: dict[str, Endpoint] = {}
        self._pools = [(one, _pool(one)) for one in record.ipam]

    @property
    def subnets(self) -> list[Subnet]:
        """Its subnets."""
        return [one.network for one in self.record.ipam]

    def bridge_addresses(self) -> list[IPv4Interface | IPv6Interface]:
        """Return what its bridge has: the gateways."""
        found: list[IPv4Interface | IPv6Interface] = []
        if self.record.flag("inhibit_ipv4", False):
            return found
        found += [
            ip_interface(f"{one.gateway}/{one.network.prefixlen}")
            for one in self.record.ipam
            if one.gateway
        ]
        return found

    def gateway(self, version: int) -> str:
        """Return where its endpoints send what is for elsewhere; empty when there is nowhere."""
        if self.record.internal:
            return ""
        for one in self.record.ipam:
            if one.network.version == version:
                return one.auxiliary.get(f"DefaultGatewayIPv{version}") or one.gateway
        return ""

    def wants(self, version: int) -> bool:
        """Tell whether its endpoints have an address of that version."""
        return any(one.network.version == version for one in self.record.ipam)

    def allocate(self, version: int, wanted: str = "") -> str:
        """Take an address, with its prefix length; the wanted one, or the next that is free.

        Raises InvalidError for one that cannot be, DeniedError for one in use, LimitError when
        there is none. Returns "" where the network has none of that version.
        """
        if wanted:
            return self._take(version, wanted)
        error: SampanError | None = None
        for config, pool in self._pools:
            if pool.subnet.version == version:
                try:
                    return f"{pool.allocate()}/{config.network.prefixlen}"
                except LimitError as full:
                    error = full
        if error is not None:
            raise error
        return ""

    def _take(self, version: int, wanted: str) -> str:
        address = parse_address(wanted, f"IPv{version}")
        self.check(address)
        for config, pool in self._pools:
            if address in pool.subnet:
                pool.take(address)
                return f"{address}/{config.network.prefixlen}"
        raise DeniedError(f"no subnet of network {self.record.name} contains {address}")

    def check_text(self, text: str) -> None:
        """Raise InvalidError unless the text is an address that a user may ask for here."""
        self.check(parse_address(text, "IP"))

    def check(self, address: Address) -> None:
        """Raise InvalidError unless a user may ask for this address here."""
        if not self.record.has_names:
            raise InvalidError(
                "user specified IP address is supported on user defined networks only"
            )
        where = f"invalid config for network {self.record.name}: invalid endpoint settings:\n"
        given = [one for one in self.record.ipam if one.network.version == address.version]
        if not any(address in one.network for one in given):
            raise InvalidError(
                f"{where}no configured subnet or ip-range contain the IP address {address}"
            )
        if all(one.chosen for one in given):
            raise InvalidError(
                f"{where}user specified IP address is supported only when connecting to networks "
                "with user configured subnets"
            )

    def release(self, endpoint: Endpoint) -> None:
        """Give an endpoint's addresses back."""
        for address in endpoint.addresses():
            for _, pool in self._pools:
                if address in pool.subnet:
                    pool.release(address)

    def restore(self, key: str, endpoint: Endpoint) -> None:
        """Take the addresses of an endpoint that is there already."""
        self.members[key] = endpoint
        for address in endpoint.addresses():
            for _, pool in self._pools:
                if address in pool.subnet and not pool.is_taken(address):
                    pool.take(address)
                    pool.continue_after(address)


def _pool(config: IpamConfig) -> AddressPool:
    within = ip_network(config.ip_range, strict=False) if config.ip_range else None
    pool = AddressPool(config.network, within)
    fixed: Sequence[str] = (config.gateway, *config.auxiliary.values())
    for text in dict.fromkeys(one for one in fixed if one):
        address = ip_address(text)
        if address in pool.subnet:
            pool.take(address)
    return pool
