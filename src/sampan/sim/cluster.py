"""A run: members, network, disks and clients go by a schedule, and every promise is watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from sampan.base.errors import InvariantError
from sampan.raft import Change, ChangeType, ConfChange, Entry, Message, MsgType, RaftError
from sampan.sim.backend import Content, content_of
from sampan.sim.clients import Clients
from sampan.sim.member import Member
from sampan.sim.network import Network, Weather
from sampan.sim.outcome import Outcome, Violation
from sampan.sim.properties import Properties
from sampan.sim.schedule import MIXES, Schedule, Step
from sampan.sim.watching import Watchers
from sampan.sim.world import World
from sampan.store.core import entry
from sampan.store.core.entry import Kind
from sampan.store.core.hashing import hash_kv
from sampan.store.core.replica import ENVELOPE
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.outcome import Unheard
from sampan.verify import Budget, Verdict, check

__all__ = ["Simulation", "simulate"]

HEAL_MS: Final = 60_000.0
STORM: Final = Weather(0.5, 40.0, lost=0.1, repeated=0.05, late=0.1)
SLOW_MS: Final = 80.0
FAST_MS: Final = 0.5


class Simulation:
    """One run of a schedule; `run` may be called once."""

    def __init__(self, schedule: Schedule, *, keep_trace: bool = False) -> None:
        settings = schedule.settings
        self.schedule = schedule
        self.world = World(settings.seed, keep=keep_trace)
        self.weather = MIXES[settings.mix].weather
        self.network = Network(self.world, self._deliver)
        self.network.weather = self.weather
        self.members: dict[int, Member] = {}
        self.clients = Clients(self.world, self)
        self.watchers = Watchers(self.world, self, self.clients.recorder)
        self.properties = Properties(self.world)
        self.outcome = Outcome(settings.seed, "")
        self._contents: dict[tuple[int, int], Content] = {}
        self._next_member = settings.members + 1
        self._actions: dict[str, Callable[[Step], None]] = {
            "crash": self._crash,
            "power_cut": self._power_cut,
            "start": self._start,
            "pause": self._pause,
            "isolate": self._isolate,
            "one_way": self._one_way,
            "heal": self._heal,
            "slow_disk": self._slow_disk,
            "full_disk": self._full_disk,
            "flip": self._flip,
            "storm": self._storm,
            "calm": self._calm,
            "transfer": self._transfer,
            "add": self._add,
            "promote": self._promote,
            "remove": self._remove,
            "watch": self._watch,
        }
        self._found(settings.members)

    def _found(self, count: int) -> None:
        founders: dict[int, bytes] = {}
        for member_id in range(1, count + 1):
            body = pb.Member(ID=member_id, peerURLs=[f"http://m{member_id}:2380"])
            add = entry.encode(Kind.MEMBER_ADD, body.SerializeToString())
            founders[member_id] = ENVELOPE + bytes(8) + add
        for member_id in founders:
            member = self.members[member_id] = Member(member_id, self.world, self)
            member.found(founders)
            member.start()

    # ---- the run

    def run(self) -> Outcome:
        """Let everything happen, then heal all and check what is left."""
        outcome, world = self.outcome, self.world
        try:
            for step in self.schedule.steps:
                world.run_until(step.at_ms)
                self._do(step)
            self._end_faults()
            world.run_until(world.now_ms + HEAL_MS)
            self._check()
        except Violation as violation:
            outcome.violation = violation
        except (InvariantError, RaftError) as error:
            outcome.violation = Violation("invariant", str(error))
        outcome.trace = world.trace
        outcome.lines = world.lines
        outcome.simulated_ms = world.now_ms
        outcome.events = world.events
        outcome.operations = self.clients.operations
        outcome.acknowledged = self.clients.acknowledged
        outcome.leaders = self.properties.leaders
        return outcome

    def _do(self, step: Step) -> None:
        action = self._actions.get(step.kind)
        if action is not None:
            self.world.note(f"{step.kind} {step.one % 7}")
            action(step)
        else:
            self.clients.act(step)

    def _end_faults(self) -> None:
        """Let everything work again, but what is lost for good."""
        self.world.note("all heals")
        self.network.heal()
        self.network.weather = self.weather
        for member in self.members.values():
            member.flush_ms = FAST_MS
            member.storage.wal.full = False
            if not member.up and not member.lost:
                member.start()

    # ---- who is there

    def running(self) -> list[Member]:
        """The members whose process runs, by id."""
        return [
            self.members[each]
            for each in sorted(self.members)
            if self.members[each].up and not self.members[each].paused
        ]

    def _pick(self, number: int) -> Member:
        ids = sorted(self.members)
        return self.members[ids[number % len(ids)]]

    def _leader(self) -> Member | None:
        leading = [each for each in self.running() if each.replica.leads]
        return max(leading, key=lambda member: member.replica.term, default=None)

    # ---- what goes wrong: one method a kind of step

    def _crash(self, step: Step) -> None:
        member = self._pick(step.one)
        self.outcome.crashes += member.up
        member.crash()

    def _power_cut(self, step: Step) -> None:
        for member in self.members.values():
            self.outcome.crashes += member.up
            member.crash()

    def _start(self, step: Step) -> None:
        down = [each for each in self.members.values() if not each.up and not each.lost]
        if down:
            down[step.one % len(down)].start()

    def _pause(self, step: Step) -> None:
        self._pick(step.one).pause(50.0 + step.size % 5000)

    def _isolate(self, step: Step) -> None:
        one = self._pick(step.one).id
        for other in self.members:
            if other != one:
                self.network.cut(one, other)
                self.network.cut(other, one)

    def _one_way(self, step: Step) -> None:
        one, other = self._pick(step.one).id, self._pick(step.other).id
        if one != other:
            self.network.cut(one, other)

    def _heal(self, step: Step) -> None:
        self.network.heal()

    def _slow_disk(self, step: Step) -> None:
        member = self._pick(step.one)
        member.flush_ms = FAST_MS if member.flush_ms > FAST_MS else SLOW_MS

    def _full_disk(self, step: Step) -> None:
        wal = self._pick(step.one).storage.wal
        wal.full = not wal.full

    def _flip(self, step: Step) -> None:
        """Damage a member's log while it is down, but never those of a majority."""
        lost = sum(member.lost for member in self.members.values())
        member = self._pick(step.one)
        if member.up or lost + 1 > (self.schedule.settings.members - 1) // 2:
            return
        if member.storage.wal.flip_bit(Random(step.size)):
            member.start()

    def _storm(self, step: Step) -> None:
        self.network.weather = STORM

    def _calm(self, step: Step) -> None:
        self.network.weather = self.weather

    def _transfer(self, step: Step) -> None:
        leader = self._leader()
        if leader is not None:
            leader.replica.node.transfer_leadership(self._pick(step.one).id)
            leader.work()

    def _add(self, step: Step) -> None:
        leader = self._leader()
        if leader is None or len(self.members) >= self.schedule.settings.members + 2:
            return
        member_id, self._next_member = self._next_member, self._next_member + 1
        kind = ChangeType.ADD_LEARNER if step.size % 2 else ChangeType.ADD_VOTER
        body = pb.Member(
            ID=member_id,
            peerURLs=[f"http://m{member_id}:2380"],
            isLearner=kind is ChangeType.ADD_LEARNER,
        )
        self._change(leader, kind, member_id, Kind.MEMBER_ADD, body.SerializeToString())
        member = self.members[member_id] = Member(member_id, self.world, self)
        member.start()

    def _promote(self, step: Step) -> None:
        leader = self._leader()
        learners = leader.replica.conf_state.learners if leader is not None else ()
        if leader is not None and learners:
            body = pb.MemberPromoteRequest(ID=learners[0]).SerializeToString()
            self._change(leader, ChangeType.ADD_VOTER, learners[0], Kind.MEMBER_PROMOTE, body)

    def _remove(self, step: Step) -> None:
        """Remove one that is not a founder, or one that is lost."""
        leader = self._leader()
        if leader is None:
            return
        for member in self.members.values():
            if member.lost or member.id > self.schedule.settings.members:
                body = pb.MemberRemoveRequest(ID=member.id).SerializeToString()
                self._change(leader, ChangeType.REMOVE, member.id, Kind.MEMBER_REMOVE, body)
                return

    def _change(
        self, leader: Member, kind: ChangeType, member_id: int, what: Kind, body: bytes
    ) -> None:
        change = ConfChange((Change(kind, member_id),))
        context = (Unheard(), what, None, "", 0)
        leader.replica.propose_membership(change, entry.encode(what, body), context)
        leader.work()

    def _watch(self, step: Step) -> None:
        self.watchers.begin(step)

    # ---- messages

    def send(self, message: Message) -> None:
        """Carry a message; a snapshot takes the sender's content along."""
        if message.type is MsgType.SNAPSHOT and message.snapshot is not None:
            self._send_snapshot(message)
        else:
            self.network.send(message)

    def _send_snapshot(self, message: Message) -> None:
        sender = self.members[message.sender]
        newest = sender.replica.cache.snapshot()
        content = content_of(sender.backend, newest.index, newest.term)
        self._contents[message.to, newest.index] = content
        self.outcome.snapshots += 1
        life = sender.life
        self.network.send(replace(message, snapshot=newest))
        delivered = self.network.connects(message.sender, message.to)

        def report() -> None:
            if sender.up and sender.life == life:
                sender.replica.node.report_snapshot(message.to, delivered=delivered)
                sender.work()

        self.world.after(500.0, report)

    def _deliver(self, message: Message) -> None:
        member = self.members.get(message.to)
        if member is not None:
            member.receive(message)

    # ---- what members tell (`Surroundings`)

    def content(self, member: int, index: int) -> Content:
        """What a snapshot contains that was sent to a member."""
        return self._contents[member, index]

    def appends(self, member: Member, entries: Sequence[Entry]) -> None:
        """A member writes entries."""
        self.properties.appends(member, entries)

    def applies(self, member: Member, entries: Sequence[Entry]) -> None:
        """A member applies entries."""
        self.properties.applies(member, entries)

    def changed(self, member: Member, since: int) -> None:
        """A member has made changes."""
        self.properties.changed(member, since)

    def leads(self, member: Member, term: int) -> None:
        """A member leads."""
        self.properties.leads(member, term)

    def restarted(self, member: Member) -> None:
        """A member is up: watchers that were on it may go on."""
        self.watchers.resume()

    # ---- the end

    def _check(self) -> None:
        leader = self._leader()
        if leader is None:
            raise Violation("progress", "nobody leads a minute after all has healed")
        voters = leader.replica.conf_state.voters
        present = [self.members[each] for each in voters if not self.members[each].lost]
        for member in present:
            if not member.up:
                raise Violation("progress", f"{member.id} does not run though nothing is wrong")
            if member.state.applied_index != leader.state.applied_index:
                raise Violation(
                    "progress",
                    f"{member.id} applied {member.state.applied_index}, the leader "
                    f"{leader.state.applied_index}, a minute after all has healed",
                )
            one, other = _hash(member), _hash(leader)
            if one != other:
                raise Violation("equal state", f"{member.id} has {one}, the leader {other}")
        for member in self.members.values():
            if member.id not in (*voters, *leader.replica.conf_state.learners):
                member.crash()  # it was removed, which ends its process
        self.clients.look(leader)
        self.watchers.end(leader.mvcc.revision)
        history = self.clients.recorder.history
        report = check(history, Budget(steps=2_000_000), truth=self.properties.truth)
        self.outcome.decided = report.verdict is not Verdict.UNDECIDED
        if report.verdict is Verdict.VIOLATION:
            raise Violation(report.kind or "linearizability", str(report))


def _hash(member: Member) -> tuple[int, int, int]:
    found = hash_kv(member.mvcc, member.backend)
    return found.hash, found.revision, len(member.lessor)


def simulate(schedule: Schedule, *, keep_trace: bool = False) -> Outcome:
    """Run a schedule."""
    return Simulation(schedule, keep_trace=keep_trace).run()
