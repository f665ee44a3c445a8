"""What CRI's clients are told of pods and containers, from the engine's records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sampan.engine.cri.pb.container_pb2 import (
    Container,
    ContainerConfig,
    ContainerState,
    ContainerStatus,
)
from sampan.engine.cri.pb.sandbox_pb2 import (
    PodSandbox,
    PodSandboxConfig,
    PodSandboxState,
    PodSandboxStatus,
)
from sampan.engine.daemon.core.record import ZERO_TIME, ContainerRecord

__all__ = [
    "container_item",
    "container_state",
    "container_status",
    "nanoseconds",
    "sandbox_item",
    "sandbox_state",
    "sandbox_status",
    "unique",
]

_OOM: Final = "OOMKilled"


def nanoseconds(text: str) -> int:
    """Return the nanoseconds since 1970 of a record's moment, 0 for one that has not come."""
    if text in ("", ZERO_TIME):
        return 0
    head, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def sandbox_state(record: ContainerRecord) -> PodSandboxState:
    """Return whether a sandbox is ready: its process holds the namespaces."""
    ready = record.state.running
    return PodSandboxState.SANDBOX_READY if ready else PodSandboxState.SANDBOX_NOTREADY


def container_state(record: ContainerRecord) -> ContainerState:
    """Return where a container is in its life."""
    state = record.state
    if state.running:
        return ContainerState.CONTAINER_RUNNING
    if state.status == "created":
        return ContainerState.CONTAINER_CREATED
    if state.status in ("exited", "dead", "removing"):
        return ContainerState.CONTAINER_EXITED
    return ContainerState.CONTAINER_UNKNOWN


def sandbox_item(record: ContainerRecord, config: PodSandboxConfig) -> PodSandbox:
    """Return a sandbox as lists have it."""
    return PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=nanoseconds(record.created),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.cri["handler"],
    )


def sandbox_status(
    record: ContainerRecord, config: PodSandboxConfig, addresses: Sequence[str]
) -> PodSandboxStatus:
    """Return a sandbox's status; the first address is the pod's own, the others follow."""
    status = PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=nanoseconds(record.created),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.cri["handler"],
    )
    options = config.linux.security_context.namespace_options
    status.linux.namespaces.options.CopyFrom(options)
    status.network.ip = addresses[0] if addresses else ""
    for address in addresses[1:]:
        status.network.additional_ips.add(ip=address)
    return status


def container_item(record: ContainerRecord, config: ContainerConfig) -> Container:
    """Return a container as lists have it."""
    return Container(
        id=record.id,
        pod_sandbox_id=record.cri["sandbox"],
        metadata=config.metadata,
        image=config.image,
        image_ref=record.cri["image_ref"],
        image_id=record.image_id,
        state=container_state(record),
        created_at=nanoseconds(record.created),
        labels=config.labels,
        annotations=config.annotations,
    )


def container_status(record: ContainerRecord, config: ContainerConfig) -> ContainerStatus:
    """Return a container's status."""
    state = record.state
    status = ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=container_state(record),
        created_at=nanoseconds(record.created),
        image=config.image,
        image_ref=record.cri["image_ref"],
        image_id=record.image_id,
        labels=config.labels,
        annotations=config.annotations,
        mounts=config.mounts,
        log_path=record.host_config["LogConfig"]["Config"].get("path", ""),
        stop_signal=config.stop_signal,
    )
    # People know the image by its name, a kubelet has asked for it by its id.
    status.image.image = record.image_name
    status.resources.linux.CopyFrom(config.linux.resources)
    if status.state != ContainerState.CONTAINER_CREATED:
        status.started_at = nanoseconds(state.started_at)
    if status.state == ContainerState.CONTAINER_EXITED:
        status.finished_at = nanoseconds(state.finished_at)
        status.exit_code = state.exit_code
        status.reason = reason_of(record)
        status.message = state.error
    user: dict[str, Any] = record.cri.get("user") or {}
    if user:
        linux = status.user.linux
        linux.uid, linux.gid = user["uid"], user["gid"]
        linux.supplemental_groups.extend(user["groups"])
    return status


def reason_of(record: ContainerRecord) -> str:
    """Return in a word why a container has ended."""
    state = record.state
    if state.error:
        return "StartError"
    if state.oom_killed:
        return _OOM
    return "Error" if state.exit_code else "Completed"


def unique(wanted: str, ids: Sequence[str], refuse: Callable[[], Exception]) -> str:
    """Return the id that `wanted` is, or is the beginning of; raises what `refuse` makes."""
    if wanted in ids:
        return wanted
    found = [one for one in ids if wanted and one.startswith(wanted)]
    if len(found) != 1:
        raise refuse()
    return found[0]
