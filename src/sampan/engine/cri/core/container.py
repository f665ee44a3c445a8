"""Containers of pods: from CRI's configuration and the image's to the engine's record."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.cri.core.mounts import check_mount
from sampan.engine.cri.core.resources import oci_resources
from sampan.engine.cri.core.sandbox import cgroup_parent, encoded, labels_of, on_host_network
from sampan.engine.cri.core.security import (
    Machine,
    Profile,
    capability_sets,
    check_labels,
    id_ranges,
    seccomp_profile,
    user_section,
)
from sampan.engine.cri.pb.container_pb2 import (
    ContainerConfig,
    LinuxContainerSecurityContext,
    Signal,
)
from sampan.engine.cri.pb.sandbox_pb2 import PodSandboxConfig, PodSandboxMetadata
from sampan.engine.cri.pb.security_pb2 import NamespaceMode
from sampan.engine.daemon.core.config import fill_config, host_config_defaults, merge_image
from sampan.engine.daemon.core.record import ContainerRecord

__all__ = [
    "Origin",
    "check_container",
    "container_name",
    "container_record",
    "log_file",
    "profile_of",
    "signal_text",
]

_RTMIN: Final = 34
_RTMAX: Final = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """The image that a container is made of: what it is called here and what it says."""

    id: str
    name: str
    ref: str
    diff_ids: Sequence[str]
    config: Mapping[str, Any]


def container_name(name: str, attempt: int, pod: PodSandboxMetadata) -> str:
    """Return the name that the kubelet's containers have among Docker's."""
    return f"k8s_{name}_{pod.name}_{pod.namespace}_{pod.uid}_{attempt}"


def signal_text(number: int) -> str:
    """Return a stop signal as records have it, empty for the image's own."""
    name: str = Signal.Name(number)
    if name == "RUNTIME_DEFAULT":
        return ""
    if name.startswith("SIGRTMIN"):
        return str(_RTMIN + int(name.removeprefix("SIGRTMIN").removeprefix("PLUS") or 0))
    if name.startswith("SIGRTMAX"):
        return str(_RTMAX - int(name.removeprefix("SIGRTMAX").removeprefix("MINUS") or 0))
    return {"SIGCLD": "SIGCHLD", "SIGPOLL": "SIGIO", "SIGIOT": "SIGABRT"}.get(name, name)


def check_container(config: ContainerConfig, pod: PodSandboxConfig, machine: Machine) -> None:
    """Refuse what cannot be, and what is not supported yet, before anything is made."""
    if not config.HasField("metadata") or not config.metadata.name:
        raise InvalidError("container config must include metadata with a name")
    if not config.image.image:
        raise InvalidError("container config must include an image")
    if config.HasField("windows"):
        raise InvalidError("this is not a Windows machine")
    if config.CDI_devices:
        raise UnsupportedError("CDI devices are not supported yet")
    context = config.linux.security_context
    if context.privileged and not pod.linux.security_context.privileged:
        raise InvalidError("no privileged container allowed in sandbox")
    check_labels(
        machine,
        context.selinux_options if context.HasField("selinux_options") else None,
        context.apparmor if context.HasField("apparmor") else None,
        context.apparmor_profile,
    )
    options, theirs = context.namespace_options, pod.linux.security_context.namespace_options
    if options.HasField("userns_options") and id_ranges(options) != id_ranges(theirs):
        raise InvalidError("userns_options: a container has the user namespace of its pod")
    if id_ranges(theirs) and context.privileged:
        raise InvalidError("a pod with a user namespace has no privileged containers")
    if options.pid == NamespaceMode.TARGET and not options.target_id:
        raise InvalidError("namespace mode TARGET needs a target_id")
    for mount in config.mounts:
        check_mount(mount, theirs.userns_options)


def profile_of(context: LinuxContainerSecurityContext) -> Profile:
    """Return the seccomp profile that a container asks for."""
    given = context.seccomp if context.HasField("seccomp") else None
    return seccomp_profile(given, context.seccomp_profile_path, privileged=context.privileged)


def log_file(config: ContainerConfig, pod: PodSandboxConfig) -> str:
    """Return where the output goes, empty for nowhere."""
    if not config.log_path or not pod.log_directory:
        return ""
    return posixpath.join(pod.log_directory, config.log_path)


def _user(context: LinuxContainerSecurityContext, image_user: str) -> str:
    user = image_user
    if context.HasField("run_as_user"):
        user = str(context.run_as_user.value)
    elif context.run_as_username:
        user = context.run_as_username
    if context.HasField("run_as_group"):
        if not (context.HasField("run_as_user") or context.run_as_username):
            raise InvalidError("run_as_group is set without run_as_user or run_as_username")
        user = f"{user.partition(':')[0]}:{context.run_as_group.value}"
    return user or "0"


def _configuration(
    config: ContainerConfig, pod: PodSandboxConfig, origin: Origin
) -> tuple[dict[str, Any], Sequence[str]]:
    """Return Docker's `Config` and the command line, the image's part included."""
    own = fill_config(
        {
            "Entrypoint": list(config.command) or None,
            "Cmd": list(config.args) or None,
            "Env": [
                f"{one.key}={one.value.decode('utf-8', 'surrogateescape')}" for one in config.envs
            ],
            "WorkingDir": config.working_dir,
            "Tty": config.tty,
            "OpenStdin": config.stdin,
            "StdinOnce": config.stdin_once,
            "StopSignal": signal_text(config.stop_signal),
            "Image": config.image.image,
        }
    )
    merged, line = merge_image(own, {**origin.config, "Healthcheck": None})
    merged["User"] = _user(config.linux.security_context, str(origin.config.get("User") or ""))
    merged["Labels"] = labels_of(pod.metadata, config.labels, config.metadata.name)
    return merged, line


def _host_configuration(
    config: ContainerConfig, pod: PodSandboxConfig, sandbox_id: str, machine: Machine
) -> dict[str, Any]:
    context, path = config.linux.security_context, log_file(config, pod)
    options, theirs = context.namespace_options, pod.linux.security_context.namespace_options
    shared, node = f"container:{sandbox_id}", NamespaceMode.NODE
    pid = {
        NamespaceMode.POD: shared,
        NamespaceMode.CONTAINER: "",
        NamespaceMode.NODE: "host",
        NamespaceMode.TARGET: f"container:{options.target_id}",
    }[options.pid]
    private = machine.cgroup_version == 2 and not context.privileged
    capabilities = context.capabilities
    return host_config_defaults() | {
        "NetworkMode": "host" if on_host_network(pod) else shared,
        "UTSMode": "host" if on_host_network(pod) else shared,
        "IpcMode": "host" if node in (options.ipc, theirs.ipc) else shared,
        "PidMode": pid,
        "CgroupnsMode": "private" if private else "host",
        "UsernsMode": shared if id_ranges(theirs) else "host",
        "CgroupParent": cgroup_parent(pod),
        "Privileged": context.privileged,
        "ReadonlyRootfs": context.readonly_rootfs,
        "CapAdd": list(capabilities.add_capabilities),
        "CapDrop": list(capabilities.drop_capabilities),
        "MaskedPaths": [] if context.privileged else list(context.masked_paths),
        "ReadonlyPaths": [] if context.privileged else list(context.readonly_paths),
        "LogConfig": {"Type": "cri", "Config": {"path": path}}
        if path
        else {"Type": "none", "Config": {}},
        "Devices": [
            {
                "PathOnHost": one.host_path,
                "PathInContainer": one.container_path,
                "CgroupPermissions": one.permissions or "rwm",
            }
            for one in config.devices
        ],
        "OomScoreAdj": max(config.linux.resources.oom_score_adj, machine.lowest_oom_score_adj),
        "Annotations": dict(config.annotations),
    }


def container_record(
    id_: str,
    created: str,
    config: ContainerConfig,
    pod: PodSandboxConfig,
    sandbox_id: str,
    origin: Origin,
    machine: Machine,
) -> ContainerRecord:
    """Return the record of a new container, without mounts and a localhost profile."""
    merged, line = _configuration(config, pod, origin)
    context = config.linux.security_context
    capabilities = context.capabilities
    process = {
        "user": user_section(
            merged["User"], context.supplemental_groups, context.supplemental_groups_policy
        ),
        "capabilities": capability_sets(
            merged["User"],
            capabilities.add_capabilities,
            capabilities.drop_capabilities,
            capabilities.add_ambient_capabilities,
            privileged=context.privileged,
        ),
        "noNewPrivileges": context.no_new_privs,
    }
    linux: dict[str, Any] = {"resources": oci_resources(config.linux.resources)}
    if profile_of(context).kind == "unconfined":
        linux["seccomp"] = None
    return ContainerRecord(
        id=id_,
        name=container_name(config.metadata.name, config.metadata.attempt, pod.metadata),
        created=created,
        image_id=origin.id,
        image_name=origin.name,
        diff_ids=list(origin.diff_ids),
        config=merged,
        host_config=_host_configuration(config, pod, sandbox_id, machine),
        path=line[0],
        args=list(line[1:]),
        cri={
            "kind": "container",
            "sandbox": sandbox_id,
            "config": encoded(config),
            "image_ref": origin.ref,
            "id_maps": id_ranges(pod.linux.security_context.namespace_options),
            "spec": {"process": process, "linux": linux},
        },
    )
