"""What must hold at every step, whoever does what: Raft's safety, and one state on all members.

The names are those of the Raft paper's figure 3 (Ongaro and Ousterhout, 2014). Each is checked over
all members together, which no member can do for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from sampan.raft import Entry, Unavailable
from sampan.sim.member import Member
from sampan.sim.outcome import Violation
from sampan.sim.world import World
from sampan.store.client import Event
from sampan.store.pb import kv_pb2
from sampan.verify import Change, Recorder, Watcher
from sampan.verify.shell.follower import change_of

__all__ = ["Properties"]


class Properties:
    """Remembers what the first member did, and raises Violation when another does otherwise.

    `truth` is a watcher that misses nothing: what each revision changed.
    """

    def __init__(self, world: World) -> None:
        self.truth = Watcher(0, 0, b"\0", b"\0", 2)
        self._recorder = Recorder()
        self._recorder.watch(0.0, self.truth)
        self._world = world
        self._leaders: dict[int, int] = {}
        self._logged: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._committed: dict[int, bytes] = {}
        self._newest = (0, 0)
        self._changes: dict[int, tuple[Change, ...]] = {}

    @property
    def leaders(self) -> int:
        """How many terms had a leader."""
        return len(self._leaders)

    def leads(self, member: Member, term: int) -> None:
        """Election safety and leader completeness: one leader a term, with all that is committed.

        Everything that anybody has applied is committed, in an earlier term or in this one.
        """
        self._world.note(f"{member.id} leads term {term}")
        known = self._leaders.setdefault(term, member.id)
        if known != member.id:
            raise Violation("election safety", f"{known} and {member.id} lead term {term}")
        index, committed_term = self._newest
        if index and _term_at(member, index) != committed_term:
            text = f"{member.id} leads term {term} without the committed entry {index}"
            raise Violation("leader completeness", text)

    def appends(self, member: Member, entries: Sequence[Entry]) -> None:
        """Log matching: an entry of one index and term is the same, and so is the one before it."""
        before = entries[0].index - 1
        term = _term_at(member, before)
        for entry in entries:
            found = term, blake2b(entry.data, digest_size=8).digest()
            known = self._logged.setdefault((entry.index, entry.term), found)
            if known != found:
                text = f"{member.id} logs another entry {entry.index} of term {entry.term}"
                raise Violation("log matching", text)
            term = entry.term

    def applies(self, member: Member, entries: Sequence[Entry]) -> None:
        """State machine safety: nobody applies another entry at an index."""
        for entry in entries:
            digest = blake2b(entry.data, digest_size=8).digest()
            if self._committed.setdefault(entry.index, digest) != digest:
                text = f"{member.id} applies another entry {entry.index}"
                raise Violation("state machine safety", text)
        self._newest = max(self._newest, (entries[-1].index, entries[-1].term))

    def changed(self, member: Member, since: int) -> None:
        """Equal state: the revisions after `since` changed the same on all members."""
        newest = member.mvcc.revision
        made: dict[int, list[Change]] = {revision: [] for revision in range(since + 1, newest + 1)}
        for _, event, revision, *_ in member.mvcc.changes(since + 1, newest + 1):
            made[revision].append(change_of(Event.of(kv_pb2.Event.FromString(event))))
        for revision, changes in made.items():
            found = tuple(changes)
            if revision not in self._changes:
                self._changes[revision] = found
                self._recorder.notice(0, self._world.now_s, "events", revision, found)
            elif self._changes[revision] != found:
                text = f"{member.id} changes something else at revision {revision}"
                raise Violation("equal state", text)


def _term_at(member: Member, index: int) -> int:
    """The term of an entry of this member's log; 0 at the beginning and where there is none."""
    try:
        return member.replica.node.term_at(index) if index else 0
    except Unavailable:
        return 0
