"""What a client is shown of a container: the line of a list, the document of an inspection."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.moment import instant
from sampan.engine.daemon.core.record import ContainerRecord

__all__ = ["inspection", "status_text", "summary", "time_ago"]


def time_ago(seconds: float) -> str:
    """Return a duration in words, as Docker's tools do."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 2:
        return "1 second"
    if seconds < 60:
        return f"{int(seconds)} seconds"
    minutes = int(seconds // 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for bound, length, unit in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 168, "weeks")):
        if hours < bound:
            return f"{hours // length} {unit}"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def status_text(record: ContainerRecord, now: float) -> str:
    """Return the line of `docker ps`: "Up 3 minutes (healthy)"."""
    state = record.state
    if state.status == "created":
        return "Created"
    if state.running:
        text = "Up " + time_ago(now - instant(state.started_at))
        if state.status == "paused":
            return text + " (Paused)"
        health = (state.health or {}).get("Status", "none")
        if health == "starting":
            return text + " (health: starting)"
        return text if health == "none" else f"{text} ({health})"
    ago = time_ago(now - instant(state.finished_at))
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {ago} ago"
    if state.status in ("removing", "dead"):
        return "Removal In Progress" if state.status == "removing" else "Dead"
    return f"Exited ({state.exit_code}) {ago} ago"


def summary(record: ContainerRecord, now: float, network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container as `GET /containers/json` lists it."""
    ports = []
    for key, bindings in (network.get("Ports") or {}).items():
        number, _, protocol = key.partition("/")
        if not bindings:
            ports.append({"PrivatePort": int(number), "Type": protocol})
        ports += [
            {
                "IP": one["HostIp"],
                "PrivatePort": int(number),
                "PublicPort": int(one["HostPort"]),
                "Type": protocol,
            }
            for one in bindings or ()
        ]
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.image_name,
        "ImageID": record.image_id,
        "Command": " ".join([record.path, *map(_quoted, record.args)]),
        "Created": int(instant(record.created)),
        "Ports": ports,
        "Labels": dict(record.labels),
        "State": record.state.status,
        "Status": status_text(record, now),
        "HostConfig": {"NetworkMode": record.host_config["NetworkMode"]},
        "NetworkSettings": {"Networks": network.get("Networks") or {}},
        "Mounts": [_public(mount) for mount in record.mounts],
    }


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


_MOUNT_KEYS: Final = frozenset("Type Name Source Destination Driver Mode RW Propagation".split())


def _public(mount: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mount.items() if key in _MOUNT_KEYS}


_CONFIG_OMITTED: Final = (
    "ArgsEscaped ExposedPorts Healthcheck NetworkDisabled Shell StopSignal StopTimeout"
).split()
_HOST_OMITTED: Final = "Annotations Init StorageOpt Sysctls Tmpfs".split()


def _without_empty(document: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a document without those of the fields that say nothing, as Docker leaves them out."""
    return {
        key: value
        for key, value in document.items()
        if key not in names or (value is not None and value not in (False, "", [], {}))
    }


def inspection(
    record: ContainerRecord,
    network: Mapping[str, Any],
    directory: str,
    execs: list[str],
    graph: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the container as `GET /containers/{id}/json` shows it."""
    state = record.state
    shown: dict[str, Any] = {
        "Status": state.status,
        # Docker counts one that waits for its next start as running.
        "Running": state.running or state.status == "restarting",
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }
    if state.health is not None:
        shown["Health"] = state.health
    return {
        "Id": record.id,
        "Created": record.created,
        "Path": record.path,
        "Args": record.args,
        "State": shown,
        "Image": record.image_id,
        "ResolvConfPath": posixpath.join(directory, "resolv.conf"),
        "HostnamePath": posixpath.join(directory, "hostname"),
        "HostsPath": posixpath.join(directory, "hosts"),
        "LogPath": posixpath.join(directory, f"{record.id}-json.log"),
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": graph["Name"],
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": execs or None,
        "HostConfig": _without_empty(record.host_config, _HOST_OMITTED),
        "GraphDriver": graph,
        "Mounts": [_public(mount) for mount in record.mounts],
        "Config": _without_empty(record.config, _CONFIG_OMITTED)
        | {"Volumes": record.config["Volumes"] or None},
        "NetworkSettings": network,
    }
