"""The bodies of containers: what the settings and the image say, in the Docker API's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.ship.core.settings import Port, Settings

__all__ = [
    "LABEL",
    "RELEASE_LABEL",
    "bindings_of",
    "candidate_of",
    "container_body",
    "has_check",
    "health_port",
    "health_timeout_s",
    "ports_for",
    "shares_network",
]

LABEL: Final = "sampan.ship.name"
RELEASE_LABEL: Final = "sampan.ship.release"
_CHECK_NS: Final = 1_000_000_000
_START_INTERVAL_NS: Final = _CHECK_NS // 10


def ports_for(
    settings: Settings, exposed: Sequence[str], last: Mapping[str, Any]
) -> Sequence[Port]:
    """Return the ports to publish: the settings', else what the image exposes.

    An exposed port keeps the number that the last release's body gave it.
    """
    if settings.ports:
        return settings.ports
    before = (last.get("HostConfig") or {}).get("PortBindings") or {}
    found = []
    for name in sorted(exposed):
        bound = before.get(name) or [{}]
        number = str(bound[0].get("HostPort") or "0")
        found.append(Port(name, int(number) if number.isdigit() else 0))
    return tuple(found)


def health_port(settings: Settings, ports: Sequence[Port]) -> str:
    """Return the container's port that is asked for `health.http`, empty without."""
    if not settings.health_http:
        return ""
    if settings.health_port:
        return f"{settings.health_port}/tcp"
    return next((one.container for one in ports if one.container.endswith("/tcp")), "")


def container_body(
    settings: Settings,
    image: str,
    ports: Sequence[Port],
    *,
    bridged: bool = True,
    image_check: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a release's container is made of; `image` is an ID.

    `image_check` is the image's own health check; a slow one is asked more often until it first
    succeeds.

    Where the engine has no bridge network, the container has the machine's own ports.
    """
    bindings: dict[str, list[dict[str, str]]] = {}
    for one in ports:
        number = str(one.host_port) if one.host_port else ""
        bindings.setdefault(one.container, []).append({"HostIp": one.address, "HostPort": number})
    host: dict[str, Any] = {
        "PortBindings": bindings if bridged else {},
        "RestartPolicy": {"Name": settings.restart},
        "Binds": list(settings.volumes),
    }
    if not bridged:
        host["NetworkMode"] = "host"
    limits = {
        "Memory": settings.memory_bytes,
        "NanoCpus": settings.nano_cpus,
        "PidsLimit": settings.pids,
    }
    host.update({key: value for key, value in limits.items() if value})
    body: dict[str, Any] = {
        "Image": image,
        "Labels": {LABEL: settings.name},
        "ExposedPorts": {one.container: {} for one in ports},
        "StopTimeout": settings.stop_timeout_s,
        "HostConfig": host,
    }
    if settings.environment:
        body["Env"] = [f"{key}={value}" for key, value in settings.environment.items()]
    if settings.user:
        body["User"] = settings.user
    if settings.command:
        body["Cmd"] = list(settings.command)
    if settings.health_command:
        body["Healthcheck"] = {
            "Test": ["CMD", *settings.health_command],
            "Interval": 10 * _CHECK_NS,
            "Timeout": 5 * _CHECK_NS,
            "StartPeriod": round(settings.health_timeout_s * _CHECK_NS),
            "StartInterval": _START_INTERVAL_NS,
            "Retries": 3,
        }
    elif image_check and _is_slow(image_check):
        period = image_check.get("StartPeriod") or round(settings.health_timeout_s * _CHECK_NS)
        body["Healthcheck"] = {"StartPeriod": period, "StartInterval": _START_INTERVAL_NS}
    return body


def _is_slow(check: Mapping[str, Any]) -> bool:
    """Tell whether a check has its first turn late, which is after its interval."""
    turn_ns = check.get("Interval") or 30 * _CHECK_NS
    return has_check(check) and not check.get("StartInterval") and turn_ns > 2 * _CHECK_NS


def has_check(check: Mapping[str, Any] | None) -> bool:
    """Tell whether an image's health check is one."""
    return bool(check and check.get("Test") and check["Test"] != ["NONE"])


def health_timeout_s(settings: Settings, check: Mapping[str, Any] | None) -> float:
    """Return how long to wait for health: as said, but for one turn of the image's check at least.

    Engines before Docker 25 know no other turn than the interval's.
    """
    if settings.health_command or settings.health_http or not check or not has_check(check):
        return settings.health_timeout_s
    turn_ns = (check.get("Interval") or 30 * _CHECK_NS) + (check.get("Timeout") or 30 * _CHECK_NS)
    interval_ns = check.get("Interval") or 30 * _CHECK_NS
    if interval_ns < settings.health_timeout_s * _CHECK_NS:
        return settings.health_timeout_s
    return turn_ns / _CHECK_NS


def shares_network(body: Mapping[str, Any]) -> bool:
    """Tell whether a container has the machine's own network, so that two cannot run beside."""
    return bool((body.get("HostConfig") or {}).get("NetworkMode") == "host")


def bindings_of(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the ports of an inspected container are reached."""
    if not shares_network(container):
        return dict(container["NetworkSettings"]["Ports"] or {})
    return {
        name: [{"HostIp": "127.0.0.1", "HostPort": name.partition("/")[0]}]
        for name in container["Config"].get("ExposedPorts") or {}
    }


def candidate_of(body: Mapping[str, Any], checked_port: str) -> dict[str, Any]:
    """Return the body of a container that only shows whether the release gets healthy.

    It publishes no port but the one that is asked, at a free number, and is not started again.
    """
    host = dict(body["HostConfig"])
    anywhere = [{"HostIp": "127.0.0.1", "HostPort": ""}]
    host["PortBindings"] = {checked_port: anywhere} if checked_port else {}
    host["RestartPolicy"] = {"Name": "no"}
    exposed = {**body["ExposedPorts"], **({checked_port: {}} if checked_port else {})}
    return {**body, "ExposedPorts": exposed, "HostConfig": host}
