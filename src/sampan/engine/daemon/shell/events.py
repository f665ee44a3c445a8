"""What happens in the engine, told to whoever listens; the last 256 events are kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from sampan.engine.daemon.core.filters import Filters

__all__ = ["EventBus"]

_KEPT: Final = 256
_QUEUE: Final = 1024


class EventBus:
    """Events in Docker's shape."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    @property
    def listeners(self) -> int:
        """How many follow the events."""
        return len(self._queues)

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        """Tell everybody."""
        now_ns = time.time_ns()
        event: dict[str, Any] = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": actor, "Attributes": dict(attributes)},
            "scope": "local",
            "time": now_ns // 1_000_000_000,
            "timeNano": now_ns,
        }
        if kind == "container":
            event |= {"status": action, "id": actor, "from": attributes.get("image", "")}
        self._kept.append(event)
        for queue in self._queues:
            if not queue.full():
                queue.put_nowait(event)

    async def subscribe(
        self, since: float | None, until: float | None, filters: Filters
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield kept events from `since`, then new ones, up to `until` (seconds since 1970)."""
        with self.listening() as queue:
            if since is not None:
                for event in list(self._kept):
                    moment = event["timeNano"] / 1e9
                    if moment >= since and (until is None or moment <= until):
                        if _wanted(event, filters):
                            yield event
            while True:
                left = None if until is None else until - time.time()
                if left is not None and left <= 0:
                    return
                try:
                    async with asyncio.timeout(left):
                        event = await queue.get()
                except TimeoutError:
                    return
                if _wanted(event, filters):
                    yield event

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Queue[dict[str, Any]]]:
        """Give a queue that new events come by; who takes none from a full one misses some."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)


def _wanted(event: Mapping[str, Any], filters: Filters) -> bool:
    attributes = event["Actor"]["Attributes"]
    kind, actor, name = event["Type"], event["Actor"]["ID"], attributes.get("name", "")
    for one in ("container", "image", "network", "volume"):
        wanted = filters.values(one)
        if wanted:
            names = (actor, name, attributes.get("image", "") if one == "image" else name)
            if kind != one and not (one == "image" and kind == "container"):
                return False
            if not any(text.startswith(word) for text in names for word in wanted):
                return False
    action = event["Action"]
    plain = action.partition(":")[0]
    return (
        filters.exact("type", kind)
        and (filters.exact("event", action) or filters.exact("event", plain))
        and filters.labels(attributes)
        and filters.exact("scope", event["scope"])
    )
