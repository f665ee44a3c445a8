"""The body of `POST /containers/create` for a command line of `run` or `create`.

Only what a flag says is in it: what is left out is the daemon's default, as it is for Docker's
command line, which writes the zero values out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.device import devices
from sampan.cli.containers.core.endpoint import endpoints
from sampan.cli.containers.core.environment import labels, pairs, variables
from sampan.cli.containers.core.flags import Parsed
from sampan.cli.containers.core.limits import resources, restart_policy
from sampan.cli.containers.core.mount import absolute_sources, tmpfs, volumes
from sampan.cli.containers.core.port import exposed, published

__all__ = ["Surroundings", "creation"]


class Surroundings(NamedTuple):
    """What a command line may refer to: the caller's variables, directory and files."""

    environment: Mapping[str, str]
    working_directory: str
    read_file: Callable[[str], str]
    """The text of a file; InvalidError in Docker's words when it cannot be read."""
    socket_path: str = ""


Body = dict[str, Any]


def creation(parsed: Parsed, around: Surroundings, detached: bool = False) -> Body:
    """Return the body; InvalidError for what contradicts itself, in Docker's words."""
    image, *command = parsed.arguments
    mode, networks = endpoints(parsed)
    body: Body = {"Image": image, **_streams(parsed, detached), **_process(parsed, around)}
    if command:
        body["Cmd"] = command
    if "entrypoint" in parsed.given:
        body["Entrypoint"] = [parsed.text("entrypoint")]
    body["Labels"] = labels(parsed.each("label-file"), parsed.each("label"), around.read_file)
    check = _health(parsed)
    if check is not None:
        body["Healthcheck"] = check
    binds, anonymous = volumes(parsed.each("volume"), around.working_directory)
    bindings = published(parsed.each("publish"))
    body["Volumes"] = anonymous
    body["ExposedPorts"] = {**{port: {} for port in bindings}, **exposed(parsed.each("expose"))}
    body["HostConfig"] = {
        **_host(parsed, around),
        **_isolation(parsed, around),
        "Binds": binds,
        "PortBindings": bindings,
        "NetworkMode": mode,
    }
    body["NetworkingConfig"] = {"EndpointsConfig": networks}
    return {field: value for field, value in body.items() if value not in ({}, "")}


def _streams(parsed: Parsed, detached: bool) -> Body:
    attached = set(parsed.each("attach")) or {"stdout", "stderr"}
    if parsed.on("interactive"):
        attached.add("stdin")
    if detached:
        attached = set()
    return {
        "AttachStdin": "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "Tty": parsed.on("tty"),
        "OpenStdin": parsed.on("interactive"),
        "StdinOnce": parsed.on("interactive") and "stdin" in attached,
    }


def _process(parsed: Parsed, around: Surroundings) -> Body:
    body: Body = {
        "Hostname": parsed.text("hostname"),
        "Domainname": parsed.text("domainname"),
        "User": parsed.text("user"),
        "WorkingDir": parsed.text("workdir"),
        "StopSignal": parsed.text("stop-signal"),
    }
    found = variables(
        parsed.each("env-file"), parsed.each("env"), around.environment, around.read_file
    )
    if found:
        body["Env"] = found
    if "stop-timeout" in parsed.given:
        body["StopTimeout"] = parsed.number("stop-timeout")
    return body


def _health(parsed: Parsed) -> Body | None:
    numbers = {
        "Interval": "health-interval",
        "Timeout": "health-timeout",
        "StartPeriod": "health-start-period",
        "StartInterval": "health-start-interval",
        "Retries": "health-retries",
    }
    given: Body = {
        field: parsed.number(flag) for field, flag in numbers.items() if parsed.number(flag)
    }
    command = parsed.text("health-cmd")
    if parsed.on("no-healthcheck"):
        if given or command:
            raise InvalidError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    for field, value in given.items():
        if value < 0:
            raise InvalidError(f"--{numbers[field]} cannot be negative")
    if command:
        given = {"Test": ["CMD-SHELL", command], **given}
    return given or None


def _host(parsed: Parsed, around: Surroundings) -> Body:
    swappiness = parsed.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise InvalidError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    found, interfaces = devices(parsed.each("device"))
    requests = list(parsed.each("gpus"))
    if interfaces:
        requests.append({"Driver": "cdi", "DeviceIDs": interfaces})
    mounts = [dict(mount) for mount in parsed.each("mount")]
    absolute_sources(mounts, around.working_directory)
    if parsed.on("use-api-socket"):
        mounts.append(_api_socket(around))
    policy = restart_policy(parsed.text("restart") if "restart" in parsed.given else "no")
    if parsed.on("rm") and policy["Name"] not in ("no", ""):
        raise InvalidError("conflicting options: cannot specify both --restart and --rm")
    host: Body = {
        **resources(parsed),
        "RestartPolicy": policy,
        "AutoRemove": parsed.on("rm"),
        "ContainerIDFile": parsed.text("cidfile"),
        "MemorySwappiness": swappiness,
        "OomKillDisable": parsed.on("oom-kill-disable"),
        "OomScoreAdj": parsed.number("oom-score-adj"),
        "ShmSize": parsed.number("shm-size"),
        "Devices": found,
        "DeviceCgroupRules": parsed.each("device-cgroup-rule"),
        "DeviceRequests": requests,
        "BlkioWeightDevice": parsed.each("blkio-weight-device"),
        "BlkioDeviceReadBps": parsed.each("device-read-bps"),
        "BlkioDeviceWriteBps": parsed.each("device-write-bps"),
        "BlkioDeviceReadIOps": parsed.each("device-read-iops"),
        "BlkioDeviceWriteIOps": parsed.each("device-write-iops"),
        "Ulimits": sorted(_last(parsed.each("ulimit")), key=lambda one: str(one["Name"])),
        "Mounts": mounts,
        "Tmpfs": tmpfs(parsed.each("tmpfs")),
        "VolumesFrom": parsed.each("volumes-from"),
        "VolumeDriver": parsed.text("volume-driver"),
        "LogConfig": _logging(parsed),
        "StorageOpt": _storage(parsed),
        "PublishAllPorts": parsed.on("publish-all"),
        "Links": parsed.each("link"),
        "Dns": parsed.each("dns"),
        "DnsOptions": parsed.each("dns-option"),
        "DnsSearch": parsed.each("dns-search"),
        "ExtraHosts": parsed.each("add-host"),
    }
    if "init" in parsed.given:
        host["Init"] = parsed.on("init")
    return {field: value for field, value in host.items() if value not in ([], {}, "", 0, False)}


def _last(limits: list[Body]) -> list[Body]:
    return list({one["Name"]: one for one in limits}.values())


def _api_socket(around: Surroundings) -> Body:
    if not around.socket_path:
        raise InvalidError("flag --use-api-socket needs a daemon on a unix socket")
    return {"Type": "bind", "Source": around.socket_path, "Target": "/var/run/docker.sock"}


def _logging(parsed: Parsed) -> Body:
    driver, options = parsed.text("log-driver"), pairs(parsed.each("log-opt"))
    if driver == "none" and options:
        raise InvalidError("invalid logging opts for driver none")
    config: Body = {"Type": driver} if driver else {}
    return {**config, "Config": options} if options else config


def _storage(parsed: Parsed) -> dict[str, str]:
    if any("=" not in option for option in parsed.each("storage-opt")):
        raise InvalidError("invalid storage option")
    return pairs(parsed.each("storage-opt"))


def _isolation(parsed: Parsed, around: Surroundings) -> Body:
    """Return what says how much the container is apart from its host."""
    options, unmasked = _security(parsed.each("security-opt"), around)
    isolation: Body = {
        "CapAdd": _capabilities(parsed.each("cap-add")),
        "CapDrop": _capabilities(parsed.each("cap-drop")),
        "GroupAdd": parsed.each("group-add"),
        "Privileged": parsed.on("privileged"),
        "ReadonlyRootfs": parsed.on("read-only"),
        "IpcMode": parsed.text("ipc"),
        "CgroupParent": parsed.text("cgroup-parent"),
        "Runtime": parsed.text("runtime"),
        "Isolation": parsed.text("isolation"),
        "Sysctls": pairs(parsed.each("sysctl")),
        "Annotations": pairs(parsed.each("annotation")),
        "SecurityOpt": options,
    }
    for flag, field, allowed, word in (
        ("pid", "PidMode", ("host",), "PID"),
        ("uts", "UTSMode", ("host",), "UTS"),
        ("userns", "UsernsMode", ("host",), "USER"),
        ("cgroupns", "CgroupnsMode", ("host", "private"), "CGROUP"),
    ):
        value = parsed.text(flag)
        shared = flag == "pid" and value.startswith("container:") and len(value) > 10
        if value and value not in allowed and not shared:
            raise InvalidError(f"--{flag}: invalid {word} mode")
        isolation[field] = value
    found = {field: value for field, value in isolation.items() if value not in ([], {}, "", False)}
    return {**found, "MaskedPaths": [], "ReadonlyPaths": []} if unmasked else found


def _capabilities(names: list[str]) -> list[str]:
    """Return the names as the API wants them: upper case, with CAP_ in front, sorted, once."""
    upper = {name.strip().upper() for name in names}
    return sorted(
        name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper
    )


def _security(options: list[str], around: Surroundings) -> tuple[list[str], bool]:
    """Return SecurityOpt, and whether system paths are to be neither masked nor read-only."""
    kept, unmasked = [], False
    for option in options:
        if "=" not in option and ":" not in option and option != "no-new-privileges":
            raise InvalidError(f'Invalid --security-opt: "{option}"')
        name, _, value = option.partition("=" if "=" in option else ":")
        if option == "systempaths=unconfined":
            unmasked = True
        elif name == "seccomp" and value not in ("builtin", "unconfined"):
            kept.append(f"seccomp={_profile(value, around)}")
        else:
            kept.append(option)
    return kept, unmasked


def _profile(path: str, around: Surroundings) -> str:
    """Return the profile of a file without blanks; the daemon has no access to the file."""
    import json

    try:
        text = around.read_file(path)
    except InvalidError as error:
        raise InvalidError(f"opening seccomp profile ({path}) failed: {error}") from None
    try:
        return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    except ValueError as error:
        raise InvalidError(
            f"compacting json for seccomp profile ({path}) failed: {error}"
        ) from None
