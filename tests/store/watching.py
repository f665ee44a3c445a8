"""A key space with a watch hub on it, and streams that record what they are sent."""

from __future__ import annotations

from collections.abc import Sequence

from tests.store.buckets import Buckets

from sampan.store.core import encode
from sampan.store.core.mvcc import Mvcc
from sampan.store.core.watch import WatchHub
from sampan.store.core.watch_events import FRAGMENT_BYTES
from sampan.store.core.watch_stream import Permission, WatchStream
from sampan.store.pb.kv_pb2 import Event
from sampan.store.pb.rpc_pb2 import WatchCreateRequest, WatchResponse


class NoLeases:
    """A lease book that nobody reads."""

    def attach(self, key: bytes, lease_id: int) -> None:
        """Ignore it."""

    def detach(self, key: bytes, lease_id: int) -> None:
        """Ignore it."""


class Recorder:
    """A sink that takes `room` messages and then no more until it gets new room."""

    def __init__(self, room: int | None = None) -> None:
        self.messages: list[bytes] = []
        self.room = room

    @property
    def has_room(self) -> bool:
        return self.room is None or self.room > 0

    def offer(self, messages: Sequence[bytes]) -> bool:
        if not self.has_room:
            return False
        for message in messages:
            self.send(message)
        return True

    def send(self, message: bytes) -> None:
        self.messages.append(message)
        if self.room is not None:
            self.room -= 1

    def take(self) -> list[WatchResponse]:
        """Return the responses that came since the last call."""
        responses = [WatchResponse.FromString(message) for message in self.messages]
        self.messages.clear()
        return responses

    def events(self) -> list[Event]:
        """Return the events that came since the last call."""
        return [event for response in self.take() for event in response.events]


class World:
    """An Mvcc and its hub; every write is a batch of its own unless `batch` is given."""

    def __init__(self, fragment_bytes: int = FRAGMENT_BYTES) -> None:
        self.mvcc = Mvcc(Buckets(), NoLeases())
        self.listening = False
        self.hub = WatchHub(
            self.mvcc,
            lambda revision: encode.header(7, 8, revision, 2),
            listen=self._listen,
            fragment_bytes=fragment_bytes,
        )

    def _listen(self, on: bool) -> None:
        self.listening = on
        self.mvcc.observer = self.hub.notify if on else None

    def put(self, *pairs: tuple[bytes, bytes]) -> int:
        """Put all pairs in one transaction and publish it."""
        for key, value in pairs:
            self.mvcc.put(key, value, 0)
        return self.end()

    def delete(self, key: bytes, range_end: bytes = b"") -> int:
        self.mvcc.delete_range(key, range_end)
        return self.end()

    def end(self) -> int:
        self.mvcc.commit()
        self.mvcc.publish()
        return self.mvcc.revision

    def compact(self, revision: int) -> None:
        self.mvcc.compact(revision)
        for _ in self.mvcc.purge(revision):
            pass

    def sync(self) -> None:
        """Catch everybody up who has room."""
        while self.hub.sync():
            pass

    def stream(
        self, room: int | None = None, permission: Permission | None = None
    ) -> tuple[WatchStream, Recorder]:
        sink = Recorder(room)
        return WatchStream(self.hub, sink, permission), sink

    def watching(self, **fields: object) -> tuple[WatchStream, Recorder]:
        """Return a stream with one watch, its announcement read."""
        stream, sink = self.stream()
        stream.create(WatchCreateRequest(**fields))  # type: ignore[arg-type]
        del sink.messages[0]
        return stream, sink
