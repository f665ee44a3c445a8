"""The commands of the transcripts in testdata/: a cluster that moves only when told.

cluster N [OPTION=VALUE ...]   members 1..N that know each other; options of `Options`
add ID                         one more process, with an empty storage
tick ID|all [COUNT]            campaign ID   propose ID DATA ...   read ID CONTEXT
conf ID +4 ~5 -2 [via=TRANSITION]   add voter 4 and learner 5, remove 2; nothing: leave
announce ID                    tell what is committed, with patient_commit
transfer ID TARGET   forget ID   unreachable ID MEMBER   report ID MEMBER lost|delivered
ready ID                       do one Ready: write, send, apply; messages wait in the network
deliver [TO ...]               hand over waiting messages        drop [TO ...]  lose them
settle                         ready and deliver until nothing is left
quiet COMMAND                  the same without printing
cut A B / cut A                lose what passes between A and B / A and all; heal
crash ID / start ID            lose what is not written / start again from storage
compact ID INDEX               snapshot and drop the log up to INDEX
write ID / apply ID            with async_writes: finish the oldest queued write / application
status / progress ID / log ID  look
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tests.store import transcript

from sampan.raft import (
    Change,
    ChangeType,
    ConfChange,
    ConfState,
    Entry,
    EntryType,
    MemoryStorage,
    Message,
    MsgType,
    Node,
    Options,
    ProposalDropped,
    ReadMode,
    Ready,
    Transition,
)
from sampan.raft.confchange import decode

_SIGNS = {"+": ChangeType.ADD_VOTER, "~": ChangeType.ADD_LEARNER, "-": ChangeType.REMOVE}


def entry_text(entry: Entry) -> str:
    body = repr(entry.data.decode()) if entry.type is EntryType.NORMAL else conf_text(entry)
    return f"{entry.term}/{entry.index}:{body}"


def conf_text(entry: Entry) -> str:
    change = decode(entry.data)
    if change.leaves_joint:
        return "leave"
    signs = {kind: sign for sign, kind in _SIGNS.items()}
    changes = " ".join(f"{signs.get(one.type, '=')}{one.member}" for one in change.changes)
    return f"[{change.transition.name.lower()} {changes}]"


def conf_state_text(state: ConfState) -> str:
    parts = ["voters=" + ",".join(map(str, state.voters))]
    groups = {
        name: getattr(state, name) for name in ("voters_outgoing", "learners", "learners_next")
    }
    parts += [f"{name}=" + ",".join(map(str, ids)) for name, ids in groups.items() if ids]
    return " ".join(parts + ["auto_leave"] * state.auto_leave)


def message_text(message: Message) -> str:
    kind = message.type
    parts = [f"{message.sender}->{message.to} {kind.value}"]
    if message.term:
        parts.append(f"term={message.term}")
    if message.log_term:
        parts.append(f"at={message.log_term}/{message.index}")
    elif message.index and kind not in (MsgType.HEARTBEAT, MsgType.HEARTBEAT_RESP):
        parts.append(f"index={message.index}")
    parts += [
        f"{name}={getattr(message, name)}" for name in ("commit", "hint") if getattr(message, name)
    ]
    parts += [name for name in ("reject", "forced") if getattr(message, name)]
    if message.context:
        parts.append(f"context={message.context.decode()}")
    if message.entries:
        parts.append(" ".join(map(entry_text, message.entries)))
    if message.snapshot:
        snapshot = message.snapshot
        parts.append(f"{snapshot.term}/{snapshot.index} {conf_state_text(snapshot.conf_state)}")
    return " ".join(parts)


@dataclasses.dataclass
class Process:
    """A member with its storage; `node` is None while it is down."""

    storage: MemoryStorage
    node: Node | None = None
    conf_state: ConfState = dataclasses.field(default_factory=ConfState)
    applied: int = 0
    writes: deque[Ready] = dataclasses.field(default_factory=deque)
    applies: deque[Ready] = dataclasses.field(default_factory=deque)


class Script:
    """One transcript's cluster."""

    def __init__(self) -> None:
        self.processes: dict[int, Process] = {}
        self.network: list[Message] = []
        self.cuts: set[frozenset[int]] = set()
        self.options: dict[str, Any] = {}
        self.out: list[str] = []

    def execute(self, command: str) -> list[str]:
        self.out = []
        plain, named = transcript.words(command)
        quiet = plain[0] == "quiet"
        verb, *rest = plain[quiet:]
        do: Callable[..., None] = getattr(self, f"do_{verb}")
        try:
            do(*rest, **named)
        except ProposalDropped as error:
            self.out.append(f"dropped: {error}")
        return [] if quiet else self.out

    def node(self, member: str | int) -> Node:
        node = self.processes[int(member)].node
        assert node is not None, f"{member} is down"
        return node

    # --- processes

    def do_cluster(self, count: str, learners: str = "0", **options: str) -> None:
        self.options = {name: _value(name, text) for name, text in options.items()}
        members = range(1, int(count) + 1)
        split = int(count) - int(learners)
        state = ConfState(tuple(members[:split]), tuple(members[split:]))
        for member in members:
            self.processes[member] = Process(MemoryStorage(state))
            self.do_start(str(member))

    def do_add(self, member: str) -> None:
        self.processes[int(member)] = Process(MemoryStorage())
        self.do_start(member)

    def do_start(self, member: str) -> None:
        process = self.processes[int(member)]
        process.conf_state = process.storage.snapshot().conf_state
        process.applied = process.storage.snapshot().index
        process.node = Node(
            Options(
                id=int(member),
                storage=process.storage,
                draw=lambda n: (int(member) - 1) % n,
                applied=process.applied,
                **self.options,
            )
        )

    def do_announce(self, member: str) -> None:
        self.node(member).announce_commit()

    def do_crash(self, member: str) -> None:
        process = self.processes[int(member)]
        process.node = None
        process.writes.clear()
        process.applies.clear()

    def do_compact(self, member: str, index: str) -> None:
        process = self.processes[int(member)]
        assert int(index) <= process.applied
        process.storage.create_snapshot(int(index), process.conf_state, b"")
        process.storage.compact(int(index))

    # --- wishes

    def do_tick(self, member: str, count: str = "1") -> None:
        for _ in range(int(count)):
            for one in self.processes if member == "all" else [int(member)]:
                self.node(one).tick()

    def do_campaign(self, member: str) -> None:
        self.node(member).campaign()

    def do_propose(self, member: str, *data: str) -> None:
        self.node(member).propose(*(one.encode() for one in data))

    def do_conf(self, member: str, *changes: str, via: str = "auto") -> None:
        listed = tuple(Change(_SIGNS[one[0]], int(one[1:])) for one in changes)
        self.node(member).propose_conf_change(ConfChange(listed, Transition[via.upper()]))

    def do_read(self, member: str, context: str) -> None:
        self.node(member).read_index(context.encode())

    def do_transfer(self, member: str, target: str) -> None:
        self.node(member).transfer_leadership(int(target))

    def do_forget(self, member: str) -> None:
        self.node(member).forget_leader()

    def do_unreachable(self, member: str, other: str) -> None:
        self.node(member).report_unreachable(int(other))

    def do_report(self, member: str, other: str, what: str) -> None:
        self.node(member).report_snapshot(int(other), delivered=what == "delivered")

    # --- work

    def do_ready(self, member: str) -> None:
        process = self.processes[int(member)]
        node = self.node(member)
        if not node.has_ready():
            self.out.append(f"{member} has nothing to do")
            return
        ready = node.ready()
        if ready.soft_state:
            soft = ready.soft_state
            self.out.append(f"{member} is {soft.role.value}, leader {soft.leader or 'unknown'}")
        for state in ready.read_states:
            self.out.append(f"{member} reads {state.context.decode()} at {state.index}")
        self.send(member, ready.messages)
        if "async_writes" in self.options:
            if ready.needs_append:
                process.writes.append(ready)
            if ready.committed_entries:
                process.applies.append(ready)
            return
        self.write(member, ready)
        self.send(member, ready.messages_after_append)
        self.apply(member, ready)
        node.advance(ready)

    def do_write(self, member: str) -> None:
        ready = self.processes[int(member)].writes.popleft()
        self.write(member, ready)
        self.own(member, ready.messages_after_append)

    def do_apply(self, member: str) -> None:
        ready = self.processes[int(member)].applies.popleft()
        self.apply(member, ready)
        self.own(member, ready.messages_after_apply)

    def own(self, member: str, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.to == int(member):
                self.out.append(f"{member} steps {message_text(message)}")
                self.node(member).step(message)
        self.send(member, [message for message in messages if message.to != int(member)])

    def write(self, member: str, ready: Ready) -> None:
        process = self.processes[int(member)]
        parts = []
        if ready.snapshot:
            process.storage.apply_snapshot(ready.snapshot)
            process.conf_state = ready.snapshot.conf_state
            process.applied = ready.snapshot.index
            parts.append(f"snapshot {ready.snapshot.term}/{ready.snapshot.index}")
        process.storage.append(ready.entries)
        parts += map(entry_text, ready.entries)
        if ready.hard_state:
            hard = ready.hard_state
            process.storage.set_hard_state(hard)
            parts.append(f"term={hard.term} vote={hard.vote} commit={hard.commit}")
        if parts:
            sync = "" if ready.must_sync else " (no sync)"
            self.out.append(f"{member} writes {' '.join(parts)}{sync}")

    def apply(self, member: str, ready: Ready) -> None:
        process = self.processes[int(member)]
        for entry in ready.committed_entries:
            self.out.append(f"{member} applies {entry_text(entry)}")
            process.applied = entry.index
            if entry.type is EntryType.CONF_CHANGE:
                process.conf_state = self.node(member).apply_conf_change(entry)
                self.out.append(f"{member} has {conf_state_text(process.conf_state)}")

    # --- the network

    def send(self, member: str, messages: Sequence[Message]) -> None:
        for message in messages:
            assert message.sender != message.to
            lost = frozenset((int(member), message.to)) in self.cuts
            self.out.append("send " + message_text(message) + (" (lost)" if lost else ""))
            if not lost:
                self.network.append(message)

    def do_deliver(self, *targets: str) -> None:
        for message in self.take(targets):
            process = self.processes.get(message.to)
            if process is None or process.node is None:
                self.out.append("lost " + message_text(message))
            else:
                process.node.step(message)

    def do_drop(self, *targets: str) -> None:
        for message in self.take(targets):
            self.out.append("lost " + message_text(message))

    def take(self, targets: Sequence[str]) -> list[Message]:
        wanted = {int(one) for one in targets} or set(range(100))
        taken = [message for message in self.network if message.to in wanted]
        self.network = [message for message in self.network if message.to not in wanted]
        return taken

    def do_settle(self) -> None:
        for _ in range(200):
            before = len(self.out)
            for member, process in self.processes.items():
                while process.node and process.node.has_ready():
                    self.do_ready(str(member))
                while process.writes:
                    self.do_write(str(member))
                while process.applies:
                    self.do_apply(str(member))
            self.do_deliver()
            if len(self.out) == before:
                return
        raise AssertionError("the cluster does not settle")

    def do_cut(self, one: str, *others: str) -> None:
        for other in map(int, others or map(str, self.processes)):
            self.cuts.add(frozenset((int(one), other)))

    def do_heal(self) -> None:
        self.cuts.clear()

    # --- looks

    def do_status(self) -> None:
        for member, process in self.processes.items():
            if process.node is None:
                self.out.append(f"{member}: down")
                continue
            status = process.node.status()
            hard = status.hard_state
            self.out.append(
                f"{member}: {status.role.value} term={hard.term} leader={status.leader} "
                f"last={status.last_index} commit={hard.commit} applied={status.applied}"
            )

    def do_progress(self, member: str) -> None:
        for other, seen in self.node(member).status().progress.items():
            flags = [name for name in ("is_learner", "is_paused") if getattr(seen, name)]
            text = f"{other}: {seen.state.value} match={seen.match} next={seen.next}"
            if seen.pending_snapshot:
                text += f" pending_snapshot={seen.pending_snapshot}"
            if seen.inflight_messages:
                text += f" inflight={seen.inflight_messages}/{seen.inflight_bytes}B"
            self.out.append(" ".join([text, *flags]))

    def do_log(self, member: str) -> None:
        storage = self.processes[int(member)].storage
        first, last = storage.first_index(), storage.last_index()
        entries = storage.entries(first, last + 1) if first <= last else []
        self.out.append(f"from {first}: " + " ".join(map(entry_text, entries)))


def _value(name: str, text: str) -> object:
    if name == "read_mode":
        return ReadMode(text)
    return text == "on" if text in ("on", "off") else int(text)
