"""Watchers of a run: each follows one member, and goes to another when that one ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sampan.sim.member import Member
from sampan.sim.schedule import Step
from sampan.sim.world import World
from sampan.store.client import Event
from sampan.store.core.watch_stream import WatchStream
from sampan.store.pb import rpc_pb2 as pb
from sampan.verify import Recorder, Watcher
from sampan.verify.shell.follower import change_of

__all__ = ["Watchers"]

MOST = 6
_FILTERS = {
    "noput": pb.WatchCreateRequest.NOPUT,
    "nodelete": pb.WatchCreateRequest.NODELETE,
}


class _Chooser(Protocol):
    def running(self) -> list[Member]:
        """The members whose process runs and is not paused."""


class _Follower:
    """One watcher; a sink of the hub of whatever member it is on."""

    has_room = True

    def __init__(self, owner: Watchers, watcher: Watcher) -> None:
        self.watcher = watcher
        self.next = watcher.start
        self.member: Member | None = None
        self.life = 0
        self._owner = owner
        self._begun = False
        self._stream: WatchStream | None = None

    @property
    def stands(self) -> bool:
        """Whether the member it is on still runs as it did."""
        return self.member is not None and self.member.up and self.member.life == self.life

    def follow(self, member: Member) -> None:
        """Begin, or go on, on this member."""
        if self._stream is not None and self.stands:
            self._stream.close()
        if self._begun and self.next:
            self._owner.notice(self, "resume", self.next)
        self._begun = True
        self.member, self.life = member, member.life
        create = pb.WatchCreateRequest(
            key=self.watcher.key,
            range_end=self.watcher.range_end,
            start_revision=self.next,
            prev_kv=self.watcher.prev_kv,
            filters=[_FILTERS[name] for name in sorted(self.watcher.filters)],
        )
        self._stream = WatchStream(member.hub, self)
        self._stream.create(create)

    def offer(self, messages: Sequence[bytes]) -> bool:
        """Take messages."""
        for message in messages:
            self.send(message)
        return True

    def send(self, message: bytes) -> None:
        """Take one message, if the connection still stands."""
        if self.stands:
            self._told(pb.WatchResponse.FromString(message))

    def _told(self, response: pb.WatchResponse) -> None:
        revision = response.header.revision
        if response.canceled:
            self.member = None
            if response.compact_revision:
                self._owner.notice(self, "compacted", response.compact_revision)
                self.next = max(self.next, response.compact_revision)
        elif response.created:
            if self.next == 0:
                self.next = revision + 1
                self._owner.notice(self, "resume", self.next)
        elif response.events:
            changes = tuple(change_of(Event.of(event)) for event in response.events)
            self._owner.notice(self, "events", revision, changes)
            self.next = changes[-1].revision + 1


class Watchers:
    """All watchers of a run."""

    def __init__(self, world: World, chooser: _Chooser, recorder: Recorder) -> None:
        self._world = world
        self._chooser = chooser
        self._recorder = recorder
        self._followers: list[_Follower] = []

    def begin(self, step: Step) -> None:
        """Begin a new watcher, or move one that there is to another member."""
        members = self._chooser.running()
        if not members:
            return
        member = members[step.other % len(members)]
        if len(self._followers) >= MOST:
            self._followers[step.one % MOST].follow(member)
            return
        name = len(self._followers) + 1
        filters = frozenset(({"noput"}, {"nodelete"}, set(), set())[step.size % 4])
        whole = step.one % 2 == 0
        key, end = (b"k0", b"l") if whole else (b"k%d" % (step.one % 6), b"")
        watcher = Watcher(1000 + name, name, key, end, 0, step.size % 3 == 0, filters)
        self._recorder.watch(self._world.now_s, watcher)
        follower = _Follower(self, watcher)
        self._followers.append(follower)
        follower.follow(member)

    def resume(self) -> None:
        """Let those go on elsewhere whose member ended."""
        members = self._chooser.running()
        for at, follower in enumerate(self._followers):
            if not follower.stands and members:
                follower.follow(members[at % len(members)])

    def notice(
        self, follower: _Follower, kind: str, revision: int, changes: Sequence[object] = ()
    ) -> None:
        """A watcher is told something."""
        name = follower.watcher.name
        self._world.note(f"watcher {name} {kind} {revision} {len(changes)}")
        self._recorder.notice(name, self._world.now_s, kind, revision, changes)  # type: ignore[arg-type]

    def end(self, revision: int) -> None:
        """Nothing more will be listened to; all up to `revision` should be known."""
        self.resume()
        self._world.run_until(self._world.now_ms + 1000)
        for follower in self._followers:
            self.notice(follower, "end", revision if follower.stands else 0)
