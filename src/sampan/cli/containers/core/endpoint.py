"""Which networks a container joins, and as what: `--network` and the flags that go with it."""

from __future__ import annotations

from typing import Any

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.flags import Kind, Parsed
from sampan.cli.containers.core.kinds import csv_fields, integer

__all__ = ["NETWORK", "endpoints", "mac_address", "user_defined"]

Attachment = dict[str, Any]


def user_defined(network: str) -> bool:
    """Tell whether it is a network that somebody made, not one that is always there."""
    predefined = ("default", "bridge", "host", "none", "")
    return network not in predefined and not network.startswith("container:")


def mac_address(text: str) -> str:
    """Return the address as it is; InvalidError for what is none."""
    parts = text.split("-" if "-" in text else ":")
    hex_digits = all(len(part) == 2 and _is_hex(part) for part in parts)
    if len(parts) not in (6, 8, 20) or not hex_digits:
        raise InvalidError(f"{text} is not a valid mac address")
    return text


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)


def _attachment(text: str) -> Attachment:
    """Return a network by its name alone or by fields such as `name=net,alias=web,ip=10.0.0.9`."""
    name, equals, _ = text.partition("=")
    # A field name begins the long form; anything else is a network's name.
    if not equals or "," in name:
        return {"Target": text}
    found: Attachment = {"Target": ""}
    for field in csv_fields(text):
        key, equals, value = field.strip().partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals:
            raise InvalidError(f"invalid field {field}")
        _field(found, key, value)
    if not found["Target"]:
        raise InvalidError("network name/id is not specified")
    return found


def _field(found: Attachment, key: str, value: str) -> None:
    if key == "name":
        found["Target"] = value
    elif key == "alias":
        found.setdefault("Aliases", []).append(value)
    elif key == "driver-opt":
        name, equals, text = value.partition("=")
        if not equals:
            raise InvalidError("invalid key value pair format in driver options")
        found.setdefault("DriverOpts", {})[name.strip().lower()] = text.strip()
    elif key in ("ip", "ip6"):
        found["IPv4Address" if key == "ip" else "IPv6Address"] = value
    elif key == "mac-address":
        found["MacAddress"] = mac_address(value)
    elif key == "link-local-ip":
        found.setdefault("LinkLocalIPs", []).append(value)
    elif key == "gw-priority":
        try:
            found["GwPriority"] = integer(value)
        except ValueError as error:
            raise InvalidError(f"invalid gw-priority ({value}): {error}") from None
    else:
        raise InvalidError(f"invalid field key {key}")


NETWORK = Kind("network", _attachment, repeated=True)


def endpoints(parsed: Parsed) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return NetworkMode and EndpointsConfig."""
    attachments = [dict(one) for one in parsed.each("network")] or [{"Target": "default"}]
    _apply_flags(attachments[0], parsed)
    found: dict[str, dict[str, Any]] = {}
    for attachment in attachments:
        name = attachment["Target"]
        if name in found:
            raise InvalidError(f'network "{name}" is specified multiple times')
        found[name] = _endpoint(attachment)
    if list(found.values()) == [{}] and parsed.each("network"):
        # The daemon joins the network of NetworkMode by itself.
        found = {}
    kinds = {user_defined(name) for name in found}
    if len(kinds) > 1:
        raise InvalidError(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    return attachments[0]["Target"], found


def _apply_flags(attachment: Attachment, parsed: Parsed) -> None:
    """Let the first network have what the flags for one network say."""
    links = parsed.each("link") if user_defined(attachment["Target"]) else []
    for flag, what, field, value in (
        ("--network-alias", "per-network alias", "Aliases", parsed.each("network-alias")),
        ("--link", "per-network links", "Links", links),
        ("--ip", "per-network IPv4 address", "IPv4Address", parsed.text("ip")),
        ("--ip6", "per-network IPv6 address", "IPv6Address", parsed.text("ip6")),
        ("--mac-address", "per-network MAC address", "MacAddress", parsed.text("mac-address")),
        (
            "--link-local-ip",
            "per-network link-local IP addresses",
            "LinkLocalIPs",
            parsed.each("link-local-ip"),
        ),
    ):
        if not value:
            continue
        if attachment.get(field):
            raise InvalidError(f"conflicting options: cannot specify both {flag} and {what}")
        attachment[field] = mac_address(str(value)) if field == "MacAddress" else value


def _endpoint(attachment: Attachment) -> dict[str, Any]:
    if not user_defined(attachment["Target"]):
        if attachment.get("Aliases"):
            raise InvalidError(
                "network-scoped aliases are only supported for user-defined networks"
            )
        if attachment.get("Links"):
            raise InvalidError("links are only supported for user-defined networks")
    addresses = {
        field: attachment[field]
        for field in ("IPv4Address", "IPv6Address", "LinkLocalIPs")
        if attachment.get(field)
    }
    endpoint: dict[str, Any] = {"IPAMConfig": addresses} if addresses else {}
    for field in ("Links", "Aliases", "MacAddress", "DriverOpts", "GwPriority"):
        if attachment.get(field):
            endpoint[field] = attachment[field]
    return endpoint
