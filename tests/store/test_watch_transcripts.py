"""Watch streams as text: see testdata/watch."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.store import transcript
from tests.store.watching import Recorder, World

from sampan.store.core import errors
from sampan.store.core.watch_stream import WatchStream
from sampan.store.pb.kv_pb2 import Event
from sampan.store.pb.rpc_pb2 import WatchCreateRequest, WatchResponse

FILES = sorted((Path(__file__).parent / "testdata" / "watch").glob("*.txt"))


def text(response: WatchResponse) -> str:
    parts = [f"id={response.watch_id}", f"rev={response.header.revision}"]
    parts += [name for name in ("created", "canceled", "fragment") if getattr(response, name)]
    if response.compact_revision:
        parts.append(f"compact={response.compact_revision}")
    if response.cancel_reason:
        parts.append(repr(response.cancel_reason))
    return " ".join(parts + [event_text(event) for event in response.events])


def event_text(event: Event) -> str:
    kind = "PUT" if event.type == Event.PUT else "DELETE"
    value = event.kv.value.decode()
    body = f"{event.kv.key.decode()}={value if len(value) < 20 else len(value)}"
    if event.type == Event.DELETE:
        body = event.kv.key.decode()
    before = f" prev={event.prev_kv.value.decode()}" if event.HasField("prev_kv") else ""
    return f"[{kind} {body} @{event.kv.mod_revision}{before}]"


class Script:
    """The commands of a transcript."""

    def __init__(self) -> None:
        self.world = World(fragment_bytes=300)
        self.streams: dict[str, tuple[WatchStream, Recorder]] = {}
        self.denied: set[bytes] = set()

    def execute(self, command: str) -> list[str]:
        plain, named = transcript.words(command)
        verb, *rest = plain
        getattr(self, f"do_{verb}")(*rest, **named)
        return [
            f"{name}: {text(response)}"
            for name, (_, sink) in self.streams.items()
            for response in sink.take()
        ]

    def do_put(self, *_: str, **pairs: str) -> None:
        self.world.put(*((key.encode(), value.encode()) for key, value in pairs.items()))

    def do_batch(self, *_: str, **pairs: str) -> None:
        """Several revisions applied as one batch."""
        for key, value in pairs.items():
            self.world.mvcc.put(key.encode(), value.encode(), 0)
            self.world.mvcc.commit()
        self.world.mvcc.publish()

    def do_big(self, *keys: str) -> None:
        """One revision with 100 bytes under each key."""
        self.world.put(*((key.encode(), b"x" * 100) for key in keys))

    def do_delete(self, key: str, end: str = "") -> None:
        self.world.delete(key.encode(), end.encode())

    def do_compact(self, revision: str) -> None:
        self.world.compact(int(revision))

    def do_sync(self) -> None:
        self.world.sync()

    def do_open(self, name: str, room: str = "") -> None:
        self.streams[name] = self.world.stream(int(room) if room else None, self)

    def do_room(self, name: str, room: str) -> None:
        self.streams[name][1].room = int(room)

    def do_watch(self, name: str, *flags: str, **named: str) -> None:
        request = WatchCreateRequest(
            key=named.get("key", "").encode(),
            range_end=named.get("end", "").replace("\\0", "\0").encode(),
            start_revision=int(named.get("start", "0")),
            watch_id=int(named.get("id", "0")),
            prev_kv="prev" in flags,
            fragment="fragment" in flags,
            progress_notify="progress" in flags,
        )
        if "noput" in flags:
            request.filters.append(WatchCreateRequest.NOPUT)
        if "nodelete" in flags:
            request.filters.append(WatchCreateRequest.NODELETE)
        self.streams[name][0].create(request)

    def do_cancel(self, name: str, watch_id: str) -> None:
        self.streams[name][0].cancel(int(watch_id))

    def do_progress(self, name: str) -> None:
        self.streams[name][0].request_progress()

    def do_tick(self, name: str) -> None:
        self.streams[name][0].tick()

    def do_deny(self, key: str) -> None:
        self.denied.add(key.encode())

    def do_recheck(self, name: str) -> None:
        self.streams[name][0].recheck()

    def do_close(self, name: str) -> None:
        self.streams[name][0].close()

    def check(self, key: bytes, range_end: bytes) -> None:
        if not self.still(key, range_end):
            raise errors.PERMISSION_DENIED()

    def still(self, key: bytes, range_end: bytes) -> bool:
        return key not in self.denied


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    transcript.run(path, Script().execute)
