"""What a container may not ask for: contradictions and values that mean nothing, in Docker's words.

Limits and modes that depend on the machine are looked at elsewhere; here a request is judged alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.logdriver import check_log_config
from sampan.engine.daemon.core.signals import signal_number
from sampan.engine.runtime.core.capability import normalise

__all__ = [
    "check_config",
    "check_device_requests",
    "check_host_config",
    "check_network_mode",
    "network_warnings",
]

_MILLISECOND_NS: Final = 1_000_000
_UNDEFINED: Final = "This would result in undefined behavior"


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a `Config` that no container can have."""
    directory = config["WorkingDir"]
    if directory and not directory.startswith("/"):
        raise InvalidError(
            f"the working directory '{directory}' is invalid, it needs to be an absolute path"
        )
    if config["StopSignal"] and not config["StopSignal"].isdigit():
        signal_number(config["StopSignal"])
    for entry in config["Env"] or ():
        if not entry.partition("=")[0]:
            raise InvalidError(f"invalid environment variable: {entry}")
    _check_health(config["Healthcheck"] or {})


def _check_health(check: Mapping[str, Any]) -> None:
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if check.get(name, 0) and check[name] < _MILLISECOND_NS:
            raise InvalidError(f"{name} in Healthcheck cannot be less than 1ms")
    if check.get("Retries", 0) < 0:
        raise InvalidError("Retries in Healthcheck cannot be negative")


def check_network_mode(config: Mapping[str, Any], host: Mapping[str, Any]) -> None:
    """Refuse options that contradict the network mode."""
    mode = host["NetworkMode"]
    if mode == "host" and host["Links"]:
        raise InvalidError(
            f"conflicting options: host type networking can't be used with links. {_UNDEFINED}"
        )
    if mode == "host" and config.get("MacAddress"):
        raise InvalidError("conflicting options: mac-address and the network mode")
    if host["UTSMode"] == "host" and config["Hostname"]:
        raise InvalidError("conflicting options: hostname and the UTS mode")
    kind, colon, other = mode.partition(":")
    if kind != "container":
        return
    if not colon or not other:
        raise InvalidError("invalid network mode: invalid container format container:<name|id>")
    conflicts = (
        (config["Hostname"], "hostname and the network mode"),
        (host["Dns"], "dns and the network mode"),
        (host["ExtraHosts"], "custom host-to-IP mapping and the network mode"),
        (config.get("MacAddress"), "mac-address and the network mode"),
        (
            host["PortBindings"] or host["PublishAllPorts"],
            "port publishing and the container type network mode",
        ),
        (config["ExposedPorts"], "port exposing and the container type network mode"),
    )
    if host["Links"]:
        raise InvalidError(
            f"conflicting options: container type network can't be used with links. {_UNDEFINED}"
        )
    for given, words in conflicts:
        if given:
            raise InvalidError(f"conflicting options: {words}")


def network_warnings(host: Mapping[str, Any]) -> list[str]:
    """Return what the client should know about its ports."""
    if host["NetworkMode"] == "host" and host["PortBindings"]:
        return ["Published ports are discarded when using host network mode"]
    return []


def check_device_requests(host: Mapping[str, Any]) -> None:
    """Refuse devices that only a driver could give; there is none."""
    for request in host["DeviceRequests"] or ():
        driver, wanted = request.get("Driver", ""), request.get("Capabilities") or []
        words = "[" + " ".join("[" + " ".join(one) + "]" for one in wanted) + "]"
        raise InvalidError(f'could not select device driver "{driver}" with capabilities: {words}')


def check_host_config(host: Mapping[str, Any]) -> None:
    """Refuse a `HostConfig` that no container can have."""
    for key in ("CapAdd", "CapDrop"):
        for name in host[key] or ():
            try:
                normalise(name)
            except InvalidError as error:
                reason = str(error).removeprefix("invalid capability: ")
                raise InvalidError(f"invalid {key}: unknown capability: {reason}") from None
    if host["Isolation"].lower() not in ("", "default"):
        raise InvalidError(
            f"Invalid isolation: \"{host['Isolation']}\" - linux only supports 'default'"
        )
    if host["Runtime"] not in ("", "runc", "io.containerd.runc.v2"):
        raise InvalidError(f"unknown or invalid runtime name: {host['Runtime']}")
    _check_restart(host)
    _check_extra_hosts(host["ExtraHosts"] or ())
    _check_ports(host["PortBindings"])
    check_log_config(host["LogConfig"])


def _check_restart(host: Mapping[str, Any]) -> None:
    policy = host["RestartPolicy"]
    name, retries = policy["Name"], policy.get("MaximumRetryCount") or 0
    start = "invalid restart policy: "
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidError(
            f"{start}unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if name == "on-failure" and retries < 0:
        raise InvalidError(f"{start}maximum retry count cannot be negative")
    if name != "on-failure" and retries:
        more = " and cannot be negative" if retries < 0 else ""
        raise InvalidError(f"{start}maximum retry count can only be used with 'on-failure'{more}")
    if host["AutoRemove"] and name != "no":
        raise InvalidError("can't create 'AutoRemove' container with restart policy")


def _check_extra_hosts(lines: Sequence[str]) -> None:
    for line in lines:
        name, colon, address = line.partition(":")
        if not name or not colon:
            raise InvalidError(f'bad format for add-host: "{line}"')
        if address == "host-gateway":
            continue
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            raise InvalidError(f'invalid IP address in add-host: "{address}"') from None


def _check_ports(bindings: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    for key, wanted in (bindings or {}).items():
        port = key.partition("/")[0]
        if not _is_range(port):
            raise InvalidError(f'invalid port specification: "{port}"')
        for one in wanted or ():
            text = one.get("HostPort") or ""
            if text and not _is_range(text):
                raise InvalidError(f'invalid port specification: "{text}"')


def _is_range(text: str) -> bool:
    """Tell whether a text is a port or a range of ports."""
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first]
    if not all(one.isdigit() and int(one) < 65536 for one in numbers):
        return False
    return not dash or int(first) <= int(last)
