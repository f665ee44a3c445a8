"""Published ports: from `PortBindings` and `ExposedPorts` to wishes, and back to what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.network.core.model import PortMapping

__all__ = ["port_wishes", "shown_ports"]

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_MOST_PORTS: Final = 65535


def _port(text: str, what: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= _MOST_PORTS:
        raise InvalidError(f"invalid port specification: {what!r}".replace("'", '"'))
    return int(text)


def _container_port(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise InvalidError(f"invalid port specification: unknown protocol {protocol!r} in {key!r}")
    port = _port(number, key)
    if port == 0:
        raise InvalidError(f'invalid port specification: "{key}"')
    return port, protocol


def port_wishes(host: Mapping[str, Any], exposed: Iterable[str]) -> list[PortMapping]:
    """Return what a container wants to publish; InvalidError for what is no port or address.

    With `PublishAllPorts` every exposed port that is not bound gets any port of the host.
    """
    wishes: list[PortMapping] = []
    bindings = host["PortBindings"] or {}
    for key in sorted(bindings, key=_container_port):
        port, protocol = _container_port(key)
        wishes += [_wish(port, protocol, one) for one in bindings[key] or ()]
    if host["PublishAllPorts"]:
        bound = {(one.port, one.protocol) for one in wishes}
        left = sorted({_container_port(key) for key in exposed} - bound)
        wishes += [PortMapping(protocol, port) for port, protocol in left]
    return wishes


def _wish(port: int, protocol: str, binding: Mapping[str, Any]) -> PortMapping:
    host_ip, text = binding.get("HostIp") or "", str(binding.get("HostPort") or "")
    if host_ip:
        try:
            ip_address(host_ip)
        except ValueError:
            raise InvalidError(f"invalid IP address: {host_ip}") from None
    first, dash, last = text.partition("-")
    if not text:
        return PortMapping(protocol, port, host_ip)
    start, end = _port(first, text), _port(last, text) if dash else 0
    if end and end < start:
        raise InvalidError(f'invalid port specification: "{text}"')
    return PortMapping(protocol, port, host_ip, start, end)


def shown_ports(ports: Sequence[PortMapping], exposed: Iterable[str]) -> dict[str, Any]:
    """Return `NetworkSettings.Ports`: exposed ports without a binding are shown with None."""
    shown: dict[str, Any] = dict.fromkeys(
        "{}/{}".format(*_container_port(key)) for key in exposed if _is_port(key)
    )
    for one in ports:
        key = f"{one.port}/{one.protocol}"
        binding = {"HostIp": one.host_ip, "HostPort": str(one.host_port)}
        shown[key] = [*(shown.get(key) or ()), binding]
    return shown


def _is_port(key: str) -> bool:
    try:
        _container_port(key)
    except InvalidError:
        return False
    return True
