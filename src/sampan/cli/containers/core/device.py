"""Devices, their limits, and GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.flags import Kind
from sampan.cli.containers.core.kinds import csv_fields, integer, size_bytes, unsigned

__all__ = ["BPS", "CGROUP_RULE", "GPUS", "IOPS", "WEIGHT", "devices"]


def devices(specifications: Iterable[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Return Devices, and the names among them that are for a device interface (CDI)."""
    found, named = [], []
    for specification in specifications:
        if _is_cdi(specification):
            named.append(specification)
        else:
            found.append(_device(specification))
    return found, named


def _is_cdi(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z][\w.-]*/[A-Za-z][\w-]*=[\w.:-]+", text) is not None


def _device(text: str) -> dict[str, str]:
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise InvalidError(f"bad format for path: {text}")
    inside, rights = parts[0], "rwm"
    if len(parts) == 3:
        inside, rights = parts[1], parts[2]
        if not _are_rights(rights):
            raise InvalidError(f"bad mode specified: {rights}")
    elif len(parts) == 2:
        if _are_rights(parts[1]):
            rights = parts[1]
        else:
            inside = parts[1]
    inside = inside or parts[0]
    if not inside.startswith("/"):
        raise InvalidError(f"{inside} is not an absolute path")
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": rights}


def _are_rights(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _rule(text: str) -> str:
    if not re.fullmatch(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", text):
        raise InvalidError(f"invalid device cgroup format '{text}'")
    return text


def _path_and_value(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise InvalidError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise InvalidError(f"bad format for device path: {text}")
    return path, value


def _weight(text: str) -> dict[str, Any]:
    path, value = _path_and_value(text)
    try:
        weight = unsigned(value, 16)
    except ValueError:
        weight = 1
    if weight and not 10 <= weight <= 1000:
        raise InvalidError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": weight}


def _bytes_rate(text: str) -> dict[str, Any]:
    path, value = _path_and_value(text)
    try:
        return {"Path": path, "Rate": size_bytes(value)}
    except ValueError:
        raise InvalidError(
            f"invalid rate for device: {text}. The correct format is "
            "<device-path>:<number>[<unit>]. Number must be a positive integer. "
            "Unit is optional and can be kb, mb, or gb"
        ) from None


def _operations_rate(text: str) -> dict[str, Any]:
    path, value = _path_and_value(text)
    try:
        return {"Path": path, "Rate": unsigned(value)}
    except ValueError:
        raise InvalidError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        ) from None


def _gpus(text: str) -> dict[str, Any]:
    request: dict[str, Any] = {}
    seen: set[str] = set()
    for index, field in enumerate(csv_fields(text)):
        key, equals, value = field.partition("=")
        if key in seen:
            raise InvalidError(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if not equals:
            if index:
                raise InvalidError(f"unexpected key '{key}' in '{field}'")
            key, value = "count", key
            seen.add(key)
        _gpu_field(request, field, key, value)
    if "Count" not in request and "DeviceIDs" not in request:
        request["Count"] = 1
    request.setdefault("Capabilities", [["gpu"]])
    return request


def _gpu_field(request: dict[str, Any], field: str, key: str, value: str) -> None:
    if key == "driver":
        request["Driver"] = value
    elif key == "count":
        try:
            request["Count"] = -1 if value == "all" else integer(value)
        except ValueError:
            raise InvalidError(
                f'invalid count ({value}): value must be either "all" or an integer: invalid syntax'
            ) from None
    elif key == "device":
        request["DeviceIDs"] = value.split(",")
    elif key == "capabilities":
        request["Capabilities"] = [[*value.split(","), "gpu"]]
    elif key == "options":
        pairs = (part.partition("=") for part in csv_fields(value))
        request["Options"] = {name: text for name, _, text in pairs}
    else:
        raise InvalidError(f"unexpected key '{key}' in '{field}'")


CGROUP_RULE = Kind("list", _rule, repeated=True)
WEIGHT = Kind("list", _weight, repeated=True)
BPS = Kind("list", _bytes_rate, repeated=True)
IOPS = Kind("list", _operations_rate, repeated=True)
GPUS = Kind("gpu-request", _gpus, repeated=True)
