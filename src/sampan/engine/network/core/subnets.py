"""The subnets of a new network, and of the default one: given, as they were, or chosen."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

from sampan.base.errors import InvalidError
from sampan.engine.network.core.definition import Definition, NetworkOptions
from sampan.engine.network.core.ipam import (
    AddressPool,
    PoolSource,
    Subnet,
    choose_subnet,
    refuse_overlap,
    unique_local,
)
from sampan.engine.network.core.model import BRIDGE_OPTION, IpamConfig, NetworkRecord

__all__ = ["Space", "default_network", "network_subnets"]

Interface = IPv4Interface | IPv6Interface


@dataclasses.dataclass(frozen=True, slots=True)
class Space:
    """Where subnets come from, and what is taken: by networks, and by routes of the host."""

    pools: Sequence[PoolSource]
    networks: Sequence[Subnet]
    routes: Sequence[Subnet]

    def choose(self, version: int, seed: str) -> IpamConfig:
        """Return a free subnet; of version 6 without a pool, a local one that `seed` decides."""
        pools = list(self.pools)
        if version == 6 and all(one.base.version == 4 for one in pools):
            pools.append(unique_local(hashlib.sha256(seed.encode()).digest()))
        taken = [*self.networks, *self.routes]
        return IpamConfig(str(choose_subnet(pools, taken, version=version)), chosen=True)


def network_subnets(definition: Definition, space: Space, seed: str) -> tuple[IpamConfig, ...]:
    """Return a new network's subnets, chosen where none was given, each with its gateway.

    Raises DeniedError for one that overlaps another network's, LimitError when none is free.
    """
    found: list[IpamConfig] = []
    for version, wanted in ((4, definition.ipv4), (6, definition.ipv6)):
        given = [one for one in definition.ipam if one.network.version == version]
        for one in given:
            refuse_overlap(one.network, space.networks)
        if wanted:
            found += given or [space.choose(version, seed)]
    return tuple(_with_gateway(one) for one in found)


def _with_gateway(config: IpamConfig) -> IpamConfig:
    """Return a subnet with a gateway: its first address that nothing else has."""
    if config.gateway:
        return config
    pool = AddressPool(config.network)
    for text in config.auxiliary.values():
        pool.take(ip_address(text))
    return dataclasses.replace(config, gateway=str(pool.allocate()))


def default_network(
    options: NetworkOptions,
    blank: NetworkRecord,
    known: NetworkRecord | None,
    space: Space,
    device: Sequence[Interface],
) -> NetworkRecord:
    """Return the default network by the daemon's flags.

    `known` is what it was in an earlier engine, and keeps its subnets if they were chosen. `device`
    are the addresses of a bridge that somebody else has made for it. Raises InvalidError for flags
    that contradict each other.
    """
    configs = [_default_subnet(4, options, blank, known, space, device)]
    if options.ipv6:
        configs.append(_default_subnet(6, options, blank, known, space, device))
    settings = {
        "default_bridge": "true",
        "enable_icc": str(options.icc).lower(),
        "enable_ip_masquerade": str(options.ip_masq).lower(),
        "host_binding_ipv4": options.host_ip,
        "name": options.bridge,
    }
    named = {BRIDGE_OPTION + key: value for key, value in settings.items()}
    return dataclasses.replace(
        blank,
        created=known.created if known is not None else blank.created,
        ipam=tuple(configs),
        ipv6=options.ipv6,
        options={**named, "com.docker.network.driver.mtu": str(options.mtu)},
    )


def _default_subnet(
    version: int,
    options: NetworkOptions,
    blank: NetworkRecord,
    known: NetworkRecord | None,
    space: Space,
    device: Sequence[Interface],
) -> IpamConfig:
    bip, fixed, gateway = {
        4: (options.bip, options.fixed_cidr, options.default_gateway),
        6: (options.bip6, options.fixed_cidr6, options.default_gateway6),
    }[version]
    own = next((str(one) for one in device if one.version == version), "")
    before = [one for one in known.ipam if one.chosen] if known is not None else []
    kept = next((one for one in before if one.network.version == version), None)
    if bip or own:
        bridge = _interface("bip" if version == 4 else "bip6", bip or own, version)
        config = IpamConfig(str(bridge.network), str(bridge.ip))
    elif fixed:
        config = IpamConfig(str(_interface("fixed-cidr", fixed, version).network))
    else:
        chosen = kept or space.choose(version, blank.id)
        config = dataclasses.replace(chosen, auxiliary={}, ip_range="")
    config = _with_gateway(config)
    if fixed:
        range_ = _interface("fixed-cidr", fixed, version).network
        if range_.network_address not in config.network or (
            range_.prefixlen < config.network.prefixlen
        ):
            raise InvalidError(f"--fixed-cidr {fixed} is not within {config.subnet}")
        config = dataclasses.replace(config, ip_range=str(range_))
    if gateway:
        if ip_address(gateway) not in config.network:
            raise InvalidError(f"--default-gateway {gateway} is not within {config.subnet}")
        auxiliary = {f"DefaultGatewayIPv{version}": gateway}
        config = dataclasses.replace(config, auxiliary=auxiliary)
    return config


def _interface(flag: str, text: str, version: int) -> Interface:
    try:
        found = ip_interface(text)
    except ValueError:
        raise InvalidError(f"invalid --{flag} {text}: an address with its length") from None
    if found.version != version:
        raise InvalidError(f"invalid --{flag} {text}: not of IPv{version}")
    return found
