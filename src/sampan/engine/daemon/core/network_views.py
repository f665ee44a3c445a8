"""What a client is shown of networks, and of a container's places in them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from sampan.engine.daemon.core.attachment import dns_names
from sampan.engine.daemon.core.published import shown_ports
from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.network.core.model import Endpoint, NetworkRecord, Sandbox

__all__ = ["network_document", "network_member", "network_settings"]


def network_document(record: NetworkRecord, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network as `GET /networks/{id}` shows it; `members` by container id."""
    configs = []
    for one in record.ipam:
        config: dict[str, Any] = {"Subnet": one.subnet}
        config |= {"IPRange": one.ip_range} if one.ip_range else {}
        config |= {"Gateway": one.gateway} if one.gateway else {}
        config |= {"AuxiliaryAddresses": dict(one.auxiliary)} if one.auxiliary else {}
        configs.append(config)
    options = dict(record.ipam_options) or (None if record.predefined else {})
    return {
        "Name": record.name,
        "Id": record.id,
        "Created": record.created,
        "Scope": "local",
        "Driver": record.driver,
        "EnableIPv4": record.ipv4,
        "EnableIPv6": record.ipv6,
        "IPAM": {"Driver": "default", "Options": options, "Config": configs or None},
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": dict(members),
        "Options": dict(record.options),
        "Labels": dict(record.labels),
    }


def network_member(name: str, endpoint: Endpoint | None) -> dict[str, Any]:
    """Return one of a network's `Containers`."""
    return {
        "Name": name,
        "EndpointID": endpoint.id if endpoint is not None else "",
        "MacAddress": endpoint.mac if endpoint is not None else "",
        "IPv4Address": endpoint.address if endpoint is not None else "",
        "IPv6Address": endpoint.address6 if endpoint is not None else "",
    }


def _placed(endpoint: Endpoint | None) -> dict[str, Any]:
    """Return the fields that a place in a network fills in."""
    address, length, address6, length6 = "", 0, "", 0
    if endpoint is not None and endpoint.address:
        four = ip_interface(endpoint.address)
        address, length = str(four.ip), four.network.prefixlen
    if endpoint is not None and endpoint.address6:
        six = ip_interface(endpoint.address6)
        address6, length6 = str(six.ip), six.network.prefixlen
    return {
        "EndpointID": endpoint.id if endpoint is not None else "",
        "Gateway": endpoint.gateway if endpoint is not None else "",
        "IPAddress": address,
        "IPPrefixLen": length,
        "IPv6Gateway": endpoint.gateway6 if endpoint is not None else "",
        "GlobalIPv6Address": address6,
        "GlobalIPv6PrefixLen": length6,
    }


def network_settings(
    record: ContainerRecord, sandbox: Sandbox | None, networks: Mapping[str, NetworkRecord]
) -> dict[str, Any]:
    """Return a container's `NetworkSettings`; `networks` are those it is in, by name."""
    shown: dict[str, Any] = {}
    default: Endpoint | None = None
    for name, settings in record.networks.items():
        network = networks.get(name)
        endpoint = sandbox.endpoint(settings["NetworkID"]) if sandbox is not None else None
        if network is not None and network.predefined:
            default = endpoint
        names = dns_names(record, settings) if network is not None and network.has_names else None
        mac = endpoint.mac if endpoint is not None else ""
        shown[name] = {
            **settings,
            "MacAddress": mac or settings["MacAddress"],
            **_placed(endpoint),
            "DNSNames": names,
        }
    running = record.state.running and sandbox is not None
    exposed = record.config["ExposedPorts"] or {}
    ports = shown_ports(sandbox.ports, exposed) if running and sandbox is not None else {}
    return {
        "Bridge": "",
        "SandboxID": record.id if sandbox is not None else "",
        "SandboxKey": sandbox.path if sandbox is not None else "",
        "Ports": ports,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **_placed(default),
        "MacAddress": default.mac if default is not None else "",
        "Networks": shown,
    }
