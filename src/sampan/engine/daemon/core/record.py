"""What the engine knows of a container, as it is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = ["ZERO_TIME", "ContainerRecord", "State"]

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""What Docker says for a moment that has not come."""


@dataclass(slots=True)
class State:
    """Where a container is in its life. `status` is Docker's word."""

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    paused: bool = False
    stopped_by_hand: bool = False
    health: dict[str, Any] | None = None

    @property
    def running(self) -> bool:
        """Tell whether its first process runs, paused or not."""
        return self.status in ("running", "paused")


@dataclass(slots=True)
class ContainerRecord:
    """One container. `config` and `host_config` have Docker's shape, with all fields filled in."""

    id: str
    name: str
    created: str
    image_id: str
    image_name: str
    diff_ids: list[str]
    config: dict[str, Any]
    host_config: dict[str, Any]
    networks: dict[str, Any] = field(default_factory=dict)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    state: State = field(default_factory=State)
    restart_count: int = 0
    links: dict[str, str] = field(default_factory=dict)
    """Old-style links: alias to the other container's id."""

    path: str = ""
    args: list[str] = field(default_factory=list)
    cri: dict[str, Any] = field(default_factory=dict)
    """What the kubelet's interface keeps here; empty for a container of Docker's."""

    @property
    def spec_changes(self) -> Mapping[str, Any]:
        """What is laid over the specification that the other fields make."""
        found: Mapping[str, Any] = self.cri.get("spec") or {}
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels, the image's among them."""
        found: Mapping[str, str] = self.config.get("Labels") or {}
        return found

    def document(self) -> dict[str, Any]:
        """Return what is kept on disk: a view, for encoding at once."""
        state = {one.name: getattr(self.state, one.name) for one in fields(State)}
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**found, "state": state}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> ContainerRecord:
        """Return the record of a kept document; InvalidError when it is none."""
        try:
            state = State(**document["state"])
            return cls(**{**document, "state": state})
        except (TypeError, KeyError) as error:
            raise InvalidError(f"container record: {error}") from None
