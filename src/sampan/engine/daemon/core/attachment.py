"""A container's places in networks: what a client asks for, checked and passed on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.daemon.core.links import parse_link
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.network.core.model import EndpointRequest, NetworkRecord

__all__ = ["check_settings", "dns_names", "endpoint_request", "endpoint_settings", "links_of"]

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ENDPOINT: Final = "com.docker.network.endpoint."
_DEVICE: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}")
_SETTING: Final = re.compile(r"net\.(ipv4|ipv6|mpls)\.(\w+)\.(?:IFNAME|ifname)\.(\w+)=([^,/\s]*)")
_FIELDS: Final[Mapping[str, Any]] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "MacAddress": "",
    "DriverOpts": None,
    "GwPriority": 0,
}


def endpoint_settings(given: Any, network: NetworkRecord | None) -> dict[str, Any]:
    """Return `EndpointSettings` with every field that a client may set; None: not known yet."""
    if not isinstance(given or {}, Mapping):
        raise InvalidError("invalid JSON: EndpointsConfig: expected objects")
    settings = {name: (given or {}).get(name) or default for name, default in _FIELDS.items()}
    return {**settings, "NetworkID": network.id if network is not None else ""}


def check_settings(
    settings: Mapping[str, Any], network: NetworkRecord, check_address: Callable[[str], None]
) -> None:
    """Raise InvalidError, in Docker's words, for settings that cannot be in this network."""
    ipam = settings["IPAMConfig"] or {}
    for key in ("IPv4Address", "IPv6Address"):
        if ipam.get(key):
            check_address(ipam[key])
    if settings["Aliases"] and not network.has_names:
        raise InvalidError("network-scoped aliases are only supported for user-defined networks")
    mac = str(settings["MacAddress"]).lower().replace("-", ":")
    if mac and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1):
        raise InvalidError(f"invalid MAC address: {settings['MacAddress']}")
    if not isinstance(settings["GwPriority"], int):
        raise InvalidError("invalid JSON: GwPriority: expected a number")
    links_of(settings["Links"])
    if ipam.get("LinkLocalIPs"):
        raise UnsupportedError("link-local addresses of containers are not supported yet")
    options = settings["DriverOpts"] or {}
    name = options.get(_ENDPOINT + "ifname", "")
    if name and not _DEVICE.fullmatch(name):
        raise InvalidError(f"invalid interface name {name!r}")
    _device_settings(options)


def _device_settings(options: Mapping[str, str]) -> list[str]:
    """Return the kernel settings of an endpoint's device, as paths below /proc/sys/net."""
    found = []
    for text in filter(None, options.get(_ENDPOINT + "sysctls", "").split(",")):
        match = _SETTING.fullmatch(text)
        if match is None:
            raise InvalidError(f"unable to parse sysctl {text}: expected net.X.Y.IFNAME.NAME=VALUE")
        found.append(f"{match[1]}/{match[2]}/DEVICE/{match[3]}={match[4]}")
    return found


def links_of(links: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return target and alias of each link; InvalidError for one that is neither."""
    return [parse_link(str(link)) for link in links or ()]


def dns_names(record: ContainerRecord, settings: Mapping[str, Any]) -> list[str]:
    """Return what others in a user network find the container by; its own name is the first."""
    names = [record.name, *(settings["Aliases"] or ()), record.id[:12], record.config["Hostname"]]
    return list(dict.fromkeys(name for name in names if name))


def endpoint_request(
    record: ContainerRecord,
    settings: Mapping[str, Any],
    network: NetworkRecord,
    linked: Mapping[str, str],
) -> EndpointRequest:
    """Return the wish for a place in the network; `linked` is alias to name."""
    ipam, options = settings["IPAMConfig"] or {}, settings["DriverOpts"] or {}
    return EndpointRequest(
        network=network.id,
        address=ipam.get("IPv4Address") or "",
        address6=ipam.get("IPv6Address") or "",
        mac=str(settings["MacAddress"]).lower().replace("-", ":"),
        names=dns_names(record, settings) if network.has_names else (),
        links=linked,
        priority=settings["GwPriority"],
        interface=options.get(_ENDPOINT + "ifname", ""),
        settings=_device_settings(options),
    )
