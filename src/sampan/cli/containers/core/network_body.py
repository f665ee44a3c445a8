"""The bodies of `network create` and `network connect`."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.environment import pairs
from sampan.cli.containers.core.flags import Parsed

__all__ = ["connection", "network"]


def network(parsed: Parsed) -> dict[str, Any]:
    """Return the body of a network to make; InvalidError for addresses that do not fit."""
    body: dict[str, Any] = {
        "Name": parsed.arguments[0],
        "Driver": parsed.text("driver"),
        "Scope": parsed.text("scope"),
        "Internal": parsed.on("internal"),
        "Attachable": parsed.on("attachable"),
        "Ingress": parsed.on("ingress"),
        "ConfigOnly": parsed.on("config-only"),
        "Options": pairs(parsed.each("opt")),
        "Labels": pairs(parsed.each("label")),
        "IPAM": {
            "Driver": parsed.text("ipam-driver"),
            "Options": pairs(parsed.each("ipam-opt")),
            "Config": _pools(parsed),
        },
    }
    if parsed.text("config-from"):
        body["ConfigFrom"] = {"Network": parsed.text("config-from")}
    for flag, field in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if flag in parsed.given:
            body[field] = parsed.on(flag)
    return {field: value for field, value in body.items() if value not in ("", False, {})} | {
        field: body[field] for field in ("EnableIPv4", "EnableIPv6") if field in body
    }


def _pools(parsed: Parsed) -> list[dict[str, Any]]:
    """Return a pool for each subnet, with the range, gateway and addresses that lie in it."""
    pools: list[tuple[Any, dict[str, Any]]] = []
    for text in parsed.each("subnet"):
        try:
            subnet = ip_network(text, strict=False)
        except ValueError:
            raise InvalidError(f"invalid CIDR address: {text}") from None
        if any(known.version == subnet.version and known.overlaps(subnet) for known, _ in pools):
            raise InvalidError("multiple overlapping subnet configuration is not supported")
        pools.append((subnet, {"Subnet": text}))
    for text in parsed.each("ip-range"):
        _place(pools, text, "IPRange", f"no matching subnet for range {text}")
    for text in parsed.each("gateway"):
        _place(pools, text, "Gateway", f"no matching subnet for gateway {text}")
    for name, address in pairs(parsed.each("aux-address")).items():
        pool = _containing(pools, address)
        if pool is None:
            raise InvalidError(f"no matching subnet for aux-address {address}")
        pool.setdefault("AuxiliaryAddresses", {})[name] = address
    return [pool for _, pool in pools]


def _place(pools: list[tuple[Any, dict[str, Any]]], text: str, field: str, missing: str) -> None:
    pool = _containing(pools, text.partition("/")[0])
    if pool is None:
        raise InvalidError(missing)
    if field in pool:
        what = "gateway" if field == "Gateway" else "ip-range"
        raise InvalidError(
            f"cannot configure multiple {what}s ({text}, {pool[field]}) on the same "
            f"subnet ({pool['Subnet']})"
        )
    pool[field] = text


def _containing(pools: list[tuple[Any, dict[str, Any]]], address: str) -> dict[str, Any] | None:
    try:
        found = ip_address(address)
    except ValueError:
        raise InvalidError(f"invalid IP address: {address}") from None
    return next((pool for subnet, pool in pools if found in subnet), None)


def connection(parsed: Parsed) -> dict[str, Any]:
    """Return the endpoint of a container that joins a network."""
    addresses: dict[str, Any] = {
        "IPv4Address": parsed.text("ip"),
        "IPv6Address": parsed.text("ip6"),
        "LinkLocalIPs": parsed.each("link-local-ip"),
    }
    endpoint: dict[str, Any] = {
        "IPAMConfig": {field: value for field, value in addresses.items() if value},
        "Links": parsed.each("link"),
        "Aliases": parsed.each("alias"),
        "DriverOpts": pairs(parsed.each("driver-opt")),
        "GwPriority": parsed.number("gw-priority"),
    }
    return {field: value for field, value in endpoint.items() if value}
