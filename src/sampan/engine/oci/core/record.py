"""What is kept of a container between two commands, its status, and its state as others read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sampan.base.record import field, record
from sampan.engine.runtime.core.fields import Fields

__all__ = ["OCI_VERSION", "Record", "Vital", "status_of"]

OCI_VERSION: Final = "1.2.0"


@record
class Record:
    """One container. `start_ticks` tells its first process from a later one with the same pid;
    `document` is the bundle's configuration as it was at `create`."""

    id: str
    bundle: str
    root: str
    created: str
    document: Mapping[str, Any]
    cgroup: str = ""
    pid: int = 0
    start_ticks: int = 0
    uid: int = 0
    resources: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what is written to disk."""
        return {
            "id": self.id,
            "bundle": self.bundle,
            "root": self.root,
            "created": self.created,
            "cgroup": self.cgroup,
            "pid": self.pid,
            "start_ticks": self.start_ticks,
            "uid": self.uid,
            "resources": self.resources,
            "document": self.document,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Record:
        """Return the record of what was written; InvalidError when it is damaged."""
        fields = Fields(document, "state")
        return cls(
            id=fields.required("id"),
            bundle=fields.required("bundle"),
            root=fields.required("root"),
            created=fields.required("created"),
            document=fields.raw("document") or {},
            cgroup=fields.text("cgroup"),
            pid=fields.integer("pid"),
            start_ticks=fields.integer("start_ticks"),
            uid=fields.integer("uid"),
            resources=fields.raw("resources") or {},
        )

    def state(self, status: str, pid: int) -> dict[str, Any]:
        """Return the state of the specification, as hooks read it on standard input."""
        state: dict[str, Any] = {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "status": status,
            "pid": pid,
            "bundle": self.bundle,
        }
        annotations = self.document.get("annotations")
        return {**state, "annotations": annotations} if annotations else state

    def listing(self, status: str, owner: str) -> dict[str, Any]:
        """Return the state as `state` and `list` print it."""
        pid = 0 if status == "stopped" else self.pid
        state = {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.root,
            "created": self.created,
        }
        annotations = self.document.get("annotations")
        if annotations:
            state["annotations"] = annotations
        return {**state, "owner": owner}


@record
class Vital:
    """What the machine says of a container."""

    alive: bool
    at_gate: bool
    frozen: bool


def status_of(record: Record, vital: Vital) -> str:
    """Return creating, created, running, paused or stopped."""
    if record.pid == 0:
        return "creating"
    if not vital.alive:
        return "stopped"
    if vital.frozen:
        return "paused"
    return "created" if vital.at_gate else "running"
