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
    "health_port",
    "ports_for",
    "shares_network",
]

LABEL: Final = "sampan.ship.name"
RELEASE_LABEL: Final = "sampan.ship.release"
_CHECK_NS: Final = 1_000_000_000


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
    settings: Settings, image: str, ports: Sequence[Port], *, bridged: bool = True
) -> dict[str, Any]:
    """Return what a release's container is made of; `image` is an ID.

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
            "StartInterval": _CHECK_NS // 10,
            "Retries": 3,
        }
    return body


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
