"""Log drivers: which there are, what they can be told, and the daemon's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.base.units import parse_size_bytes

__all__ = ["LOG_DRIVERS", "check_log_config", "filled_log_config"]

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
