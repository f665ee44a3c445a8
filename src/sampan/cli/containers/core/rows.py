"""What lists show of networks, volumes, layers and search results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sampan.cli.containers.core.units import age, decimal_size, short_id

__all__ = [
    "LISTS", "ellipsis", "history_row", "labelled", "local_time", "network_row", "quoted",
    "search_row", "volume_row",
]  # fmt: skip

Row = dict[str, Any]

LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "container": (
        r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
        {
            "ID": "CONTAINER ID",
            "RunningFor": "CREATED",
            "CreatedAt": "CREATED AT",
            "LocalVolumes": "LOCAL VOLUMES",
        },
    ),
    "image": (
        r"{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        {
            "ID": "IMAGE ID",
            "CreatedSince": "CREATED",
            "CreatedAt": "CREATED AT",
            "VirtualSize": "SIZE",
            "SharedSize": "SHARED SIZE",
            "UniqueSize": "UNIQUE SIZE",
        },
    ),
    "network": (
        r"{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        {"ID": "NETWORK ID", "CreatedAt": "CREATED AT"},
    ),
    "volume": (r"{{.Driver}}\t{{.Name}}", {"Name": "VOLUME NAME"}),
    "history": (
        r"{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        {
            "ID": "IMAGE",
            "CreatedSince": "CREATED",
            "CreatedAt": "CREATED AT",
            "CreatedBy": "CREATED BY",
        },
    ),
    "search": (
        r"{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
        {"StarCount": "STARS", "IsOfficial": "OFFICIAL", "IsAutomated": "AUTOMATED"},
    ),
    "stats": (
        r"{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}"
        r"\t{{.PIDs}}",
        {
            "ID": "CONTAINER ID",
            "CPUPerc": "CPU %",
            "MemUsage": "MEM USAGE / LIMIT",
            "MemPerc": "MEM %",
            "NetIO": "NET I/O",
            "BlockIO": "BLOCK I/O",
        },
    ),
    "usage": (
        r"{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        {"TotalCount": "TOTAL"},
    ),
}
"""For each kind of list the columns that it has by default, and titles unlike the field's name."""


def ellipsis(text: str, length: int) -> str:
    """Return the text cut to so many letters, the last of which says that it is cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def quoted(text: str) -> str:
    """Return the text in double quotes, as Go writes it in source."""
    return json.dumps(text, ensure_ascii=False)


def labelled(labels: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the fields `Labels` and `Label` of a row."""
    known = labels or {}
    return {
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(known.items())),
        "Label": lambda name: known.get(name, ""),
    }


def local_time(seconds: float) -> str:
    """Return a moment as `2026-01-31 12:00:00 +0000 UTC`, in the caller's zone."""
    moment = datetime.fromtimestamp(int(seconds)).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S %z %Z")


def _spelled(moment: str) -> str:
    """Return an RFC 3339 moment of UTC as Go spells it: `2026-01-31 12:00:00.5 +0000 UTC`."""
    if not moment.endswith("Z"):
        return moment
    text = moment[:-1].replace("T", " ")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} +0000 UTC"


def network_row(network: Mapping[str, Any], shorten: bool) -> Row:
    """Return a network for `network ls`."""
    return {
        "CreatedAt": _spelled(str(network.get("Created", ""))),
        "Driver": network["Driver"],
        "ID": short_id(network["Id"]) if shorten else network["Id"],
        "IPv4": str(bool(network.get("EnableIPv4", True))).lower(),
        "IPv6": str(bool(network.get("EnableIPv6"))).lower(),
        "Internal": str(bool(network.get("Internal"))).lower(),
        **labelled(network.get("Labels")),
        "Name": network["Name"],
        "Scope": network.get("Scope", ""),
    }


def volume_row(volume: Mapping[str, Any]) -> Row:
    """Return a volume for `volume ls`."""
    return {
        "Availability": "N/A",
        "Driver": volume["Driver"],
        "Group": "N/A",
        **labelled(volume.get("Labels")),
        "Links": "N/A",
        "Mountpoint": volume.get("Mountpoint", ""),
        "Name": volume["Name"],
        "Scope": volume.get("Scope", ""),
        "Size": "N/A",
        "Status": "N/A",
    }


def history_row(layer: Mapping[str, Any], now_s: float, shorten: bool, human: bool) -> Row:
    """Return a layer for `history`."""
    made = str(layer.get("CreatedBy", "")).replace("\t", " ")
    created = layer.get("Created") or 0
    since = f"{age(now_s - created)} ago" if created else "N/A"
    moment = datetime.fromtimestamp(created).astimezone().isoformat().replace("+00:00", "Z")
    identity = layer.get("Id", "")
    return {
        "Comment": layer.get("Comment", ""),
        "CreatedAt": moment,
        "CreatedBy": ellipsis(made, 45) if shorten else made,
        "CreatedSince": since if human else moment,
        "ID": short_id(identity) if shorten and identity != "<missing>" else identity,
        "Size": decimal_size(layer.get("Size", 0)) if human else str(layer.get("Size", 0)),
    }


def search_row(found: Mapping[str, Any], shorten: bool) -> Row:
    """Return a result for `search`."""
    text = str(found.get("description", "")).replace("\n", " ").replace("\r", " ")
    return {
        "Description": ellipsis(text, 45) if shorten else text,
        "IsAutomated": "[OK]" if found.get("is_automated") else "",
        "IsOfficial": "[OK]" if found.get("is_official") else "",
        "Name": found.get("name", ""),
        "StarCount": str(found.get("star_count", 0)),
    }
