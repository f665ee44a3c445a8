"""The filters of `GET /containers/json`: which values they take, and ports among them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.filters import Filters

__all__ = ["check_list_filters", "port_meant", "ports_of"]

_NAMES: Final = (
    "ancestor before exited expose health id is-task isolation label name network publish since "
    "status volume"
).split()
_STATUSES: Final = "created running paused restarting removing exited dead".split()
_HEALTH: Final = "none starting healthy unhealthy".split()


def check_list_filters(filters: Filters) -> None:
    """Refuse names and values that mean nothing, in Docker's words."""
    filters.check(_NAMES)
    for value in filters.values("status"):
        if value not in _STATUSES:
            raise InvalidError(f"invalid filter 'status={value}'")
    for value in filters.values("health"):
        if value.lower() not in _HEALTH:
            raise InvalidError(f"unrecognised filter value for health: {value}")
    for value in filters.values("exited"):
        if not value.lstrip("+-").isdigit():
            raise InvalidError(f'strconv.Atoi: parsing "{value}": invalid syntax')
    filters.flag("is-task")
    for name in ("publish", "expose"):
        ports_of(name, filters.values(name))


def ports_of(name: str, values: Iterable[str]) -> frozenset[str]:
    """Return the ports of `80`, `80/udp` and `8000-8010/tcp`; InvalidError for anything else."""
    found: set[str] = set()
    for value in values:
        numbers, _, protocol = value.partition("/")
        first, dash, last = numbers.partition("-")
        for one in (first, last) if dash else (first,):
            if not one.isdigit() or int(one) > 65535:
                raise InvalidError(
                    f"error while looking up for {name} {value}: strconv.ParseUint: parsing "
                    f'"{one}": invalid syntax'
                )
        most = int(last) if dash else int(first)
        found |= {f"{port}/{protocol or 'tcp'}" for port in range(int(first), most + 1)}
    return frozenset(found)


def port_meant(
    filters: Filters, ports: Iterable[Mapping[str, Any]], exposed: Collection[str]
) -> bool:
    """Tell whether a container's published and exposed ports are among those wanted."""
    if filters.has("publish"):
        wanted = ports_of("publish", filters.values("publish"))
        shown = {f"{one['PublicPort']}/{one['Type']}" for one in ports if "PublicPort" in one}
        if not wanted & shown:
            return False
    if filters.has("expose"):
        wanted = ports_of("expose", filters.values("expose"))
        own = {port if "/" in port else f"{port}/tcp" for port in exposed}
        if not wanted & own:
            return False
    return True
