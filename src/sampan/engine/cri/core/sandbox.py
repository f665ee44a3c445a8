"""Pod sandboxes: from a pod's configuration to the record of the container that holds its place.

The sandbox's process does nothing but hold the namespaces that the pod's containers join.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.cri.core.security import (
    Machine,
    check_labels,
    id_ranges,
    user_section,
)
from sampan.engine.cri.pb.sandbox_pb2 import (
    DNSConfig,
    PodSandboxConfig,
    PodSandboxMetadata,
    Protocol,
)
from sampan.engine.cri.pb.security_pb2 import NamespaceMode, SecurityProfile
from sampan.engine.daemon.core.config import (
    MASKED_PATHS,
    READONLY_PATHS,
    fill_config,
    host_config_defaults,
)
from sampan.engine.daemon.core.record import ContainerRecord

__all__ = [
    "HANDLERS",
    "cgroup_parent",
    "encoded",
    "hosts_text",
    "labels_of",
    "on_host_network",
    "pod_subnets",
    "port_bindings",
    "resolv_text",
    "sandbox_name",
    "sandbox_record",
]

HANDLERS: Final = ("", "runc")
"""Names of runtime handlers; all mean the same runtime."""

_SANDBOX_OOM_SCORE_ADJ: Final = -998
_CAPABILITY_SETS: Final = ("bounding", "effective", "permitted", "inheritable", "ambient")
_NOBODY: Final = 65535
_LINE_BYTES: Final = 255


def sandbox_name(of: PodSandboxMetadata) -> str:
    """Return the name of a pod's sandbox."""
    return f"k8s_POD_{of.name}_{of.namespace}_{of.uid}_{of.attempt}"


def encoded(message: Any) -> str:
    """Return a message as records keep it: exactly as it came."""
    return base64.b64encode(message.SerializeToString()).decode()


def labels_of(pod: PodSandboxMetadata, own: Mapping[str, str], container: str) -> dict[str, str]:
    """Return the labels that `docker ps` shows and filters by."""
    return {
        "io.kubernetes.pod.name": pod.name,
        "io.kubernetes.pod.namespace": pod.namespace,
        "io.kubernetes.pod.uid": pod.uid,
        "io.kubernetes.container.name": container,
        **own,
    }


def on_host_network(config: PodSandboxConfig) -> bool:
    """Tell whether the pod uses the node's network."""
    options = config.linux.security_context.namespace_options
    return bool(options.network == NamespaceMode.NODE)


def cgroup_parent(config: PodSandboxConfig) -> str:
    """Return the cgroup below which everything of the pod goes."""
    parent: str = config.linux.cgroup_parent
    if parent.endswith(".slice") or ":" in parent:
        raise InvalidError(
            f"cgroup_parent {parent!r} is systemd's; this runtime's cgroup driver is cgroupfs"
        )
    if ".." in parent.split("/"):
        raise InvalidError(f"cgroup_parent {parent!r} leaves its hierarchy")
    return parent or "/pods"


def _check(config: PodSandboxConfig, handler: str, machine: Machine) -> None:
    if not config.HasField("metadata") or not config.metadata.name:
        raise InvalidError("sandbox config must include metadata with a name")
    if handler not in HANDLERS:
        raise InvalidError(f'no runtime for "{handler}" is configured')
    if config.HasField("windows"):
        raise InvalidError("this is not a Windows machine")
    context = config.linux.security_context
    check_labels(
        machine,
        context.selinux_options if context.HasField("selinux_options") else None,
        context.apparmor if context.HasField("apparmor") else None,
        "",
    )
    options = context.namespace_options
    id_ranges(options)
    if NamespaceMode.TARGET in (options.network, options.pid, options.ipc):
        raise InvalidError("namespace mode TARGET is for containers, not for sandboxes")
    if NamespaceMode.CONTAINER in (options.network, options.ipc):
        raise InvalidError("network and ipc namespaces are the pod's or the node's")
    if context.HasField("run_as_group") and not context.HasField("run_as_user"):
        raise InvalidError("run_as_group is set without run_as_user")
    for mapping in config.port_mappings:
        if mapping.host_port and on_host_network(config):
            continue  # the container listens there itself
        if mapping.host_port > 65535 or not 0 < mapping.container_port < 65536:
            raise InvalidError(f"port mapping {mapping.host_port}:{mapping.container_port}")
        if mapping.host_port and mapping.protocol == Protocol.SCTP:
            raise UnsupportedError("host ports of SCTP are not supported yet")


def port_bindings(config: PodSandboxConfig) -> dict[str, list[dict[str, str]]]:
    """Return the ports to show on the host, as Docker's `PortBindings`."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in config.port_mappings:
        if one.host_port:
            key = f"{one.container_port}/{Protocol.Name(one.protocol).lower()}"
            binding = {"HostIp": one.host_ip, "HostPort": str(one.host_port)}
            found.setdefault(key, []).append(binding)
    return found


def pod_subnets(text: str) -> list[str]:
    """Return the subnets of a node's pods, at most one of each IP version, as they came.

    `text` has them separated by a comma. Raises InvalidError.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        versions = [ip_network(word).version for word in words]
    except ValueError as error:
        raise InvalidError(f"pod_cidr {text!r}: {error}") from None
    if len(set(versions)) != len(versions):
        raise InvalidError(f"pod_cidr {text!r}: one subnet of each IP version")
    return words


def sandbox_record(
    id_: str,
    created: str,
    config: PodSandboxConfig,
    handler: str,
    machine: Machine,
    network: str,
) -> ContainerRecord:
    """Return the record of a new sandbox; `network` is where pods of their own address go.

    Raises InvalidError or UnsupportedError for what cannot be.
    """
    _check(config, handler, machine)
    context = config.linux.security_context
    options = context.namespace_options
    shared_network, mapped = on_host_network(config), id_ranges(options)
    if network == "none" and not shared_network and port_bindings(config):
        raise InvalidError("host ports need a bridge network, and the daemon makes none")
    host = host_config_defaults()
    host |= {
        "NetworkMode": "host" if shared_network else network,
        "PortBindings": {} if shared_network else port_bindings(config),
        "UTSMode": "host" if shared_network else "",
        "PidMode": "host" if options.pid == NamespaceMode.NODE else "",
        "IpcMode": "host" if options.ipc == NamespaceMode.NODE else "shareable",
        "CgroupnsMode": "host",
        "UsernsMode": "" if mapped else "host",
        "CgroupParent": cgroup_parent(config),
        "Sysctls": dict(config.linux.sysctls),
        "LogConfig": {"Type": "none", "Config": {}},
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
        "ReadonlyRootfs": True,
        "Annotations": dict(config.annotations),
    }
    own = fill_config({})
    own["Hostname"] = "" if shared_network else config.hostname or id_[:12]
    own["Labels"] = labels_of(config.metadata, config.labels, "POD")
    return ContainerRecord(
        id=id_,
        name=sandbox_name(config.metadata),
        created=created,
        image_id="",
        image_name="",
        diff_ids=[],
        config=own,
        host_config=host,
        path="/pause",
        cri={
            "kind": "sandbox",
            "config": encoded(config),
            "handler": handler,
            "id_maps": mapped,
            "spec": _changes(config, machine),
        },
    )


def _changes(config: PodSandboxConfig, machine: Machine) -> dict[str, Any]:
    context = config.linux.security_context
    policy = context.supplemental_groups_policy
    user, group = _NOBODY, _NOBODY
    if context.HasField("run_as_user"):
        user = context.run_as_user.value
        group = context.run_as_group.value if context.HasField("run_as_group") else user
    nothing: list[str] = []
    process = {
        "x-pause": True,
        "user": {
            **user_section(f"{user}:{group}", list(context.supplemental_groups), policy),
            "x-groups": [],
        },
        "capabilities": dict.fromkeys(_CAPABILITY_SETS, nothing),
        "noNewPrivileges": True,
        "oomScoreAdj": max(_SANDBOX_OOM_SCORE_ADJ, machine.lowest_oom_score_adj),
    }
    changes: dict[str, Any] = {"process": process}
    seccomp = context.seccomp if context.HasField("seccomp") else None
    if seccomp is not None and seccomp.profile_type == SecurityProfile.Unconfined:
        changes["linux"] = {"seccomp": None}
    return changes


def resolv_text(dns: DNSConfig, otherwise: str) -> str:
    """Return the pod's resolv.conf, `otherwise` when its configuration says nothing of it."""
    if not (dns.servers or dns.searches or dns.options):
        return otherwise
    for word in (*dns.servers, *dns.searches, *dns.options):
        if len(word) > _LINE_BYTES or any(character.isspace() for character in word):
            raise InvalidError(f"dns_config: {word!r} is no word of a resolv.conf")
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "\n".join(lines) + "\n"


def hosts_text(hostname: str, addresses: Sequence[str]) -> str:
    """Return the hosts file of a pod whose kubelet gives none."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{hostname}" for address in addresses]
    return "\n".join(lines) + "\n"
