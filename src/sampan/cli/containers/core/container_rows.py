"""What `ps` shows of containers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.cli.containers.core.rows import ellipsis, labelled, local_time, quoted
from sampan.cli.containers.core.units import age, decimal_size, short_id

__all__ = ["container_row", "port_texts"]


def container_row(container: Mapping[str, Any], now_s: float, shorten: bool) -> dict[str, Any]:
    """Return a container for `ps`."""
    names = [name.removeprefix("/") for name in container["Names"] or ()]
    if shorten:
        # A name with a slash is what another container calls it by a link.
        names = [name for name in names if "/" not in name]
    command = container["Command"]
    mounts = [str(mount.get("Name") or mount.get("Source", "")) for mount in container["Mounts"]]
    size = decimal_size(container.get("SizeRw", 0))
    virtual = container.get("SizeRootFs", 0)
    return {
        "Command": quoted(ellipsis(command, 20) if shorten else command),
        "CreatedAt": local_time(container["Created"]),
        "ID": short_id(container["Id"]) if shorten else container["Id"],
        "Image": _image(container, shorten),
        **labelled(container.get("Labels")),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in container["Mounts"])),
        "Mounts": ",".join(ellipsis(name, 15) if shorten else name for name in mounts),
        "Names": ",".join(names),
        "Networks": ",".join((container.get("NetworkSettings") or {}).get("Networks") or {}),
        "Platform": None,
        "Ports": ", ".join(port_texts(container.get("Ports") or ())),
        "RunningFor": f"{age(now_s - container['Created'])} ago",
        "Size": f"{size} (virtual {decimal_size(virtual)})" if virtual else size,
        "State": container["State"],
        "Status": container["Status"],
    }


def _image(container: Mapping[str, Any], shorten: bool) -> str:
    name = str(container["Image"] or "<no image>")
    if not shorten:
        return name
    if re.fullmatch(r"(sha256:)?[0-9a-f]{64}", name):
        return short_id(name)
    return name.partition("@")[0]


def port_texts(ports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return ports as people read them; neighbours that are published as they are, as a range."""
    groups: dict[tuple[str, str], list[int]] = {}
    texts: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports, key=_order):
        inside, protocol = port["PrivatePort"], port["Type"]
        address, outside = port.get("IP") or "", port.get("PublicPort") or 0
        if address and outside != inside:
            mapped.append(f"{_joined(address, str(outside))}->{inside}/{protocol}")
            continue
        key = (address, protocol)
        first_last = groups.get(key)
        if first_last is None:
            groups[key] = [inside, inside]
        elif inside in (first_last[1], first_last[1] + 1):
            first_last[1] = inside
        else:
            texts.append(_group(key, first_last))
            groups[key] = [inside, inside]
    return texts + [_group(key, first_last) for key, first_last in groups.items()] + mapped


def _order(port: Mapping[str, Any]) -> tuple[int, str, int, str]:
    return port["PrivatePort"], port.get("IP") or "", port.get("PublicPort") or 0, port["Type"]


def _joined(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _group(key: tuple[str, str], first_last: Sequence[int]) -> str:
    address, protocol = key
    first, last = first_last
    text = str(first) if first == last else f"{first}-{last}"
    if address:
        text = f"{_joined(address, text)}->{text}"
    return f"{text}/{protocol}"
