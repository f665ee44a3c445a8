"""What a user asks of a new network, checked, with Docker's words for what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from sampan.base.errors import DeniedError, InvalidError, NotFoundError
from sampan.engine.network.core.ipam import (
    DEFAULT_POOLS,
    PoolSource,
    overlaps,
    parse_address,
    parse_subnet,
)
from sampan.engine.network.core.model import BRIDGE_OPTION, IpamConfig

__all__ = ["PREDEFINED", "Definition", "NetworkOptions", "parse_definition"]

PREDEFINED: Final = ("bridge", "host", "none")
_DRIVERS: Final = ("bridge", "host", "null")
_NUMBERS: Final = ("com.docker.network.driver.mtu",)
_FLAGS: Final = ("enable_icc", "enable_ip_masquerade", "default_bridge", "inhibit_ipv4")
_LARGEST_MTU: Final = 65535
_DEVICE_BYTES: Final = 15
_PREFIX_BYTES: Final = 10


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What the daemon's flags say about networks. `bridge` is the default one's device, or none."""

    bridge: str = "sampan0"
    bip: str = ""
    bip6: str = ""
    fixed_cidr: str = ""
    fixed_cidr6: str = ""
    default_gateway: str = ""
    default_gateway6: str = ""
    ipv6: bool = False
    mtu: int = 1500
    icc: bool = True
    ip_forward: bool = True
    ip_masq: bool = True
    rules: bool = True
    rules6: bool = True
    userland_proxy: bool = True
    host_ip: str = "0.0.0.0"
    dns: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    dns_options: Sequence[str] = ()
    pools: Sequence[PoolSource] = DEFAULT_POOLS


@dataclass(frozen=True, slots=True)
class Definition:
    """A network to be made. Subnets that are empty are chosen."""

    name: str
    driver: str = "bridge"
    ipam: Sequence[IpamConfig] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    ipam_options: Mapping[str, str] = field(default_factory=dict)


def parse_definition(body: Mapping[str, Any]) -> Definition:
    """Return what the body of `POST /networks/create` asks for."""
    name, driver = body.get("Name") or "", body.get("Driver") or "bridge"
    if not isinstance(name, str) or not name.strip() or "/" in name:
        raise InvalidError(f"invalid network name: {name!r}" if name else "network name is empty")
    if name in PREDEFINED or name in ("default", "container"):
        raise DeniedError(f"operation is not permitted on predefined {name} network")
    if driver not in _DRIVERS:
        raise NotFoundError(f'plugin "{driver}" not found')
    if driver != "bridge":
        raise DeniedError(f'only one instance of "{driver}" network is allowed')
    if body.get("ConfigOnly") or (body.get("ConfigFrom") or {}).get("Network"):
        raise InvalidError("networks of configuration only are not supported")
    if body.get("Ingress"):
        raise InvalidError("ingress networks are of a swarm, and this node is in none")
    ipam = body.get("IPAM") or {}
    if (ipam.get("Driver") or "default") != "default":
        raise NotFoundError(f'plugin "{ipam["Driver"]}" not found')
    options = _texts(body.get("Options"), "Options")
    _check_options(options)
    given = [_ipam_config(one) for one in ipam.get("Config") or () if any(one.values())]
    ipv4 = body.get("EnableIPv4")
    ipv6 = bool(body.get("EnableIPv6"))
    found = Definition(
        name=name,
        driver=driver,
        ipam=tuple(one for one in given if ipv6 or one.network.version == 4),
        ipv4=True if ipv4 is None else bool(ipv4),
        ipv6=ipv6,
        internal=bool(body.get("Internal")),
        attachable=bool(body.get("Attachable")),
        labels=_texts(body.get("Labels"), "Labels"),
        options=options,
        ipam_options=_texts(ipam.get("Options"), "IPAM.Options"),
    )
    if not (found.ipv4 or found.ipv6):
        raise InvalidError("IPv4 or IPv6 must be enabled")
    _check_ipam(found.ipam)
    return found


def _texts(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given or {}, Mapping):
        raise InvalidError(f"invalid JSON: {where}: expected an object")
    return {str(key): str(value) for key, value in (given or {}).items()}


def _check_options(options: Mapping[str, str]) -> None:
    for key in _NUMBERS:
        text = options.get(key)
        if text is not None and (not text.isdigit() or not 68 <= int(text) <= _LARGEST_MTU):
            raise InvalidError(f"failed to parse {text} value: {key} must be a number of bytes")
    for name in _FLAGS:
        text = options.get(BRIDGE_OPTION + name)
        if text is not None and text.lower() not in ("true", "false", "0", "1", "t", "f"):
            raise InvalidError(f"failed to parse {text} value: {BRIDGE_OPTION}{name} is a flag")
    host_ip = options.get(BRIDGE_OPTION + "host_binding_ipv4", "")
    if host_ip:
        parse_address(host_ip, "host binding")
    prefix = options.get("com.docker.network.container_iface_prefix", "")
    if len(prefix.encode()) > _PREFIX_BYTES or set(prefix) & set("/ \t\n%:"):
        raise InvalidError(f"invalid interface prefix {prefix!r}: up to {_PREFIX_BYTES} bytes")
    device = options.get(BRIDGE_OPTION + "name", "")
    if len(device.encode()) > _DEVICE_BYTES or set(device) & set("/ \t\n") or device in (".", ".."):
        raise InvalidError(f"invalid bridge name {device!r}: it has up to {_DEVICE_BYTES} bytes")


def _ipam_config(one: Any) -> IpamConfig:
    if not isinstance(one, Mapping):
        raise InvalidError("invalid JSON: IPAM.Config: expected objects")
    subnet = one.get("Subnet") or ""
    if not subnet:
        raise InvalidError("invalid network config:\ninvalid subnet: a subnet is required here")
    return IpamConfig(
        subnet=str(parse_subnet(subnet)),
        gateway=one.get("Gateway") or "",
        ip_range=one.get("IPRange") or "",
        auxiliary=_texts(one.get("AuxiliaryAddresses"), "AuxiliaryAddresses"),
    )


def _check_ipam(configs: Sequence[IpamConfig]) -> None:
    for number, one in enumerate(configs):
        subnet = one.network
        if one.ip_range:
            try:
                range_ = ip_network(one.ip_range, strict=False)
            except ValueError:
                raise InvalidError(
                    f"invalid network config:\ninvalid ip-range {one.ip_range}: invalid CIDR "
                    "address"
                ) from None
            if range_.version != subnet.version or range_.network_address not in subnet:
                raise InvalidError(
                    f"invalid network config:\ninvalid ip-range {range_}: parent subnet "
                    f"{subnet} doesn't contain ip-range"
                )
            if range_.prefixlen < subnet.prefixlen:
                raise InvalidError(
                    f"invalid network config:\ninvalid ip-range {range_}: CIDR block is bigger "
                    f"than its parent subnet {subnet}"
                )
        named = {"gateway": one.gateway, **one.auxiliary} if one.gateway else one.auxiliary
        for what, text in named.items():
            kind = "gateway" if what == "gateway" else "auxiliary"
            if parse_address(text, kind) not in subnet:
                raise InvalidError(
                    f"invalid network config:\ninvalid {kind} address {text}: parent subnet "
                    f"{subnet} doesn't contain this address"
                )
        if any(overlaps(subnet, other.network) for other in configs[:number]):
            raise InvalidError(f"invalid network config:\nsubnet {subnet} overlaps with another")
