"""What happens to pods and containers, in the words of CRI's event stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from sampan.base.errors import NotFoundError
from sampan.engine.cri.pb.container_pb2 import ContainerStatus
from sampan.engine.cri.pb.events_pb2 import ContainerEventResponse, ContainerEventType
from sampan.engine.cri.pb.sandbox_pb2 import PodSandboxStatus
from sampan.engine.cri.shell.catalogue import Catalogue
from sampan.engine.cri.shell.containers import PodContainers
from sampan.engine.cri.shell.pods import Pods
from sampan.engine.daemon.shell.engine import Engine

__all__ = ["PodEvents"]

_TYPES: Final = {
    "create": ContainerEventType.CONTAINER_CREATED_EVENT,
    "start": ContainerEventType.CONTAINER_STARTED_EVENT,
    "die": ContainerEventType.CONTAINER_STOPPED_EVENT,
    "destroy": ContainerEventType.CONTAINER_DELETED_EVENT,
}


class PodEvents:
    """Tells of the pods of one engine."""

    def __init__(
        self, engine: Engine, catalogue: Catalogue, pods: Pods, containers: PodContainers
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._pods = pods
        self._containers = containers

    async def follow(self) -> AsyncGenerator[ContainerEventResponse | None]:
        """Yield None once events are listened for, then an event for every change."""
        with self._engine.events.listening() as queue:
            # Whose pod a thing was, and what was last known of it, for when it is gone.
            sandboxes = {one.id: self._pods.status(one) for one in self._catalogue.sandboxes()}
            members = {one.id: one.record.cri["sandbox"] for one in self._catalogue.containers()}
            yield None
            while True:
                event = await queue.get()
                if event["Type"] == "container" and event["Action"] in _TYPES:
                    told = self._event(event, sandboxes, members)
                    if told is not None:
                        yield told

    def _event(
        self,
        event: dict[str, Any],
        sandboxes: dict[str, PodSandboxStatus],
        members: dict[str, str],
    ) -> ContainerEventResponse | None:
        id_ = event["Actor"]["ID"]
        sandbox_id = self._sandbox_of(id_, members)
        if sandbox_id is None:
            return None  # a container of Docker's
        statuses: list[ContainerStatus] = []
        try:
            status = self._pods.status(self._catalogue.sandbox(sandbox_id))
            sandboxes[sandbox_id] = status
            statuses = self._containers.statuses(sandbox_id)
        except NotFoundError:
            known = sandboxes.get(sandbox_id)
            if known is None:
                return None
            status = known
        if event["Action"] == "destroy":
            members.pop(id_, None)
            sandboxes.pop(id_, None)
        return ContainerEventResponse(
            container_id=id_,
            container_event_type=_TYPES[event["Action"]],
            created_at=event["timeNano"],
            pod_sandbox_status=status,
            containers_statuses=statuses,
        )

    def _sandbox_of(self, id_: str, members: dict[str, str]) -> str | None:
        """Return the sandbox of a container, or a sandbox itself; None for what is no pod's."""
        try:
            record = self._engine.find(id_).record
        except NotFoundError:
            return members.get(id_)
        if not record.cri:
            return None
        members[id_] = record.cri.get("sandbox", id_)
        return members[id_]
