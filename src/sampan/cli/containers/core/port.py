"""Published and exposed ports: `8080:80/tcp`, `127.0.0.1::53/udp`, `9000-9002:90-92`."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.base.errors import InvalidError

__all__ = ["Bindings", "exposed", "published"]

Bindings = dict[str, list[dict[str, str]]]
_PROTOCOLS = ("tcp", "udp", "sctp")


def published(specifications: Iterable[str]) -> Bindings:
    """Return PortBindings: the container's port and protocol -> where it is published."""
    bindings: Bindings = {}
    for specification in specifications:
        text = _long_form(specification) if "=" in specification else specification
        for port, binding in _mappings(text):
            bindings.setdefault(port, []).append(binding)
    return bindings


def exposed(specifications: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return ExposedPorts of `--expose`: single ports and ranges."""
    ports: dict[str, dict[str, str]] = {}
    for specification in specifications:
        if ":" in specification:
            raise InvalidError(f"invalid port format for --expose: {specification}")
        text, protocol = _protocol(specification)
        try:
            first, last = _range(text)
        except ValueError as error:
            raise InvalidError(
                f"invalid range format for --expose: {text}, error: {error}"
            ) from None
        ports.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
    return ports


def _long_form(specification: str) -> str:
    named = {"published": "", "target": "", "protocol": "tcp"}
    for part in specification.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidError(
                f"invalid publish opts format (should be name=value but got '{part}')"
            )
        named[key] = value
    return f"{named['published']}:{named['target']}/{named['protocol']}"


def _mappings(text: str) -> Iterable[tuple[str, dict[str, str]]]:
    rest, protocol = _protocol(text)
    address, host, container = _parts(rest)
    if not container:
        raise InvalidError(f"no port specified: {text}<empty>")
    first, last = _ports(container, "containerPort")
    low, high = _ports(host, "hostPort") if host else (0, 0)
    if host and high - low != last - first:
        if first != last:
            raise InvalidError(
                f"invalid ranges specified for container and host Ports: {container} and {host}"
            )
        # Any free port of the range will do for the one port of the container.
        return [(f"{first}/{protocol}", {"HostIp": address, "HostPort": f"{low}-{high}"})]
    return [
        (
            f"{first + step}/{protocol}",
            {"HostIp": address, "HostPort": str(low + step) if host else ""},
        )
        for step in range(last - first + 1)
    ]


def _protocol(text: str) -> tuple[str, str]:
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidError(f"invalid proto: {protocol}")
    return rest, protocol


def _parts(text: str) -> tuple[str, str, str]:
    """Return address, host port and container port."""
    parts = text.split(":")
    if len(parts) < 3:
        return "", parts[0] if len(parts) == 2 else "", parts[-1]
    address = ":".join(parts[:-2])
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address:
        from ipaddress import ip_address

        try:
            ip_address(address)
        except ValueError:
            raise InvalidError(f"invalid IP address: {address}") from None
    return address, parts[-2], parts[-1]


def _ports(text: str, what: str) -> tuple[int, int]:
    try:
        return _range(text)
    except ValueError:
        raise InvalidError(f"invalid {what}: {text}") from None


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = _number(first)
    high = _number(last) if dash else low
    if high < low:
        raise ValueError(f"invalid range specified for port: {text}")
    return low, high


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 0xFFFF:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
