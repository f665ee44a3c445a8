"""Log drivers: which there are, what they can be told, and the daemon's defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.base.units import parse_size_bytes
from sampan.engine.daemon.core.record import ContainerRecord

__all__ = ["LOG_DRIVERS", "check_log_config", "filled_log_config", "log_destination"]

_COMMON: Final = frozenset(("mode", "max-buffer-size"))
_JSON: Final = frozenset("max-file max-size compress labels labels-regex env env-regex tag".split())
_LOCAL: Final = frozenset("max-file max-size compress".split())
LOG_DRIVERS: Final = ("json-file", "local", "none")


def filled_log_config(
    given: Mapping[str, Any] | None, driver: str, options: Mapping[str, str]
) -> dict[str, Any]:
    """Return a container's `LogConfig`; `driver` and `options` are the daemon's defaults.

    The daemon's options are for its own driver only.
    """
    kind = (given or {}).get("Type") or driver
    own = (given or {}).get("Config") or {}
    return {"Type": kind, "Config": {**(options if kind == driver else {}), **own}}


def check_log_config(config: Mapping[str, Any]) -> None:
    """Refuse a driver that is not there and options that it does not know, in Docker's words."""
    kind, options = config["Type"], config["Config"]
    if kind in ("none", "cri"):
        return
    if kind not in LOG_DRIVERS:
        raise InvalidError(f'error looking up logging plugin {kind}: plugin "{kind}" not found')
    _check_mode(options)
    for name in sorted(options):
        if name in _COMMON:
            continue
        if kind == "json-file" and name not in _JSON:
            raise InvalidError(f"unknown log opt '{name}' for json-file log driver")
        if kind == "local" and name not in _LOCAL:
            raise InvalidError(f"unknown log opt '{name}' for log driver local")


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidError(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidError(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
            )
        size = options["max-buffer-size"]
        try:
            parse_size_bytes(size)
        except ValueError:
            raise InvalidError(
                f"error parsing option max-buffer-size: invalid size: '{size}'"
            ) from None


def log_destination(record: ContainerRecord, path: str) -> dict[str, Any]:
    """Return where a container's output goes, as shims take it; `path` is Docker's place for it.

    Raises InvalidError for a size, a number, an expression or a tag that means nothing.
    """
    config = record.host_config["LogConfig"]
    kind, options = config["Type"], config.get("Config") or {}
    if kind == "cri":
        return {"driver": kind, "path": options["path"]}
    found: dict[str, Any] = {"driver": "none" if kind == "none" else "json-file", "path": path}
    if kind == "none":
        return found
    try:
        if kind == "local":
            found |= {"max_bytes": 20 << 20, "max_files": 5}
        size = options.get("max-size", "")
        if size and size != "-1":
            found["max_bytes"] = parse_size_bytes(size)
        count = options.get("max-file", "")
        if count:
            if not count.isdigit() or int(count) < 1:
                raise ValueError(f"max-file cannot be {count}: a number from 1 on")
            found["max_files"] = int(count)
        attributes = _attributes(record, options)
    except (ValueError, re.error) as error:
        raise InvalidError(f"failed to initialize logging driver: {error}") from None
    return found | ({"attributes": attributes} if attributes else {})


def _attributes(record: ContainerRecord, options: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept beside each line: chosen labels and variables, and the tag."""
    variables = dict(entry.partition("=")[::2] for entry in record.config["Env"] if "=" in entry)
    found: dict[str, str] = {}
    for name, values in (("labels", dict(record.labels)), ("env", variables)):
        wanted = set(options.get(name, "").split(","))
        pattern = options.get(f"{name}-regex", "")
        found |= {
            key: value
            for key, value in values.items()
            if key in wanted or (pattern and re.search(pattern, key))
        }
    if "tag" in options:
        found["tag"] = _tag(options["tag"], record)
    return found


def _tag(template: str, record: ContainerRecord) -> str:
    """Fill in a tag such as `{{.Name}}/{{.ID}}`, or Docker's default for an empty one."""
    image = record.image_id.partition(":")[2] or record.image_id
    values = {
        "ID": record.id[:12],
        "FullID": record.id,
        "Name": record.name,
        "ImageName": record.image_name,
        "ImageID": image[:12],
        "ImageFullID": record.image_id,
        "Command": " ".join([record.path, *record.args]),
        "DaemonName": "docker",
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ValueError(f'template: log-tag: field "{found[1]}" is not known')
        return values[found[1]]

    return re.sub(r"\{\{\s*\.(\w+)\s*\}\}", value, template or "{{.ID}}")
