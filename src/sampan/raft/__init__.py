"""Raft as a library that does no I/O: messages in, Ready out, time in ticks.

After Diego Ongaro, "Consensus: Bridging Theory and Practice" (2014), cited by section throughout.
It covers elections with pre-vote and quorum check, pipelined replication, snapshots, leadership
transfer, membership changes by joint consensus, learners, and linearizable reads.

A member is a `Node`. Its surroundings give it messages (`step`), time (`tick`) and wishes
(`propose`, `propose_conf_change`, `read_index`, `transfer_leadership`), then take the work that
came of it (`ready`) and do it:

    node = Node(Options(id=1, storage=storage, draw=random.Random(seed).randrange))
    while True:
        ...                                    # node.step / node.tick / node.propose
        while node.has_ready():
            ready = node.ready()
            send(ready.messages)               # 1. may leave before anything is written
            storage.write(ready.snapshot, ready.entries, ready.hard_state)
            if ready.must_sync:
                storage.sync()                 # 2. durable ...
            send(ready.messages_after_append)  # 3. ... before these leave
            apply(ready.snapshot, ready.committed_entries)
            node.advance(ready)                # 4.

The persistence contract
    `messages_after_append` holds the answers that vouch for something written: votes given,
    entries accepted. If one left before term, vote and entries are on disk, a crash could make
    the member vote twice, or lose an entry that was counted as committed. The write is atomic
    or in the order snapshot, entries, hard state: after a crash a later part is never there
    without the earlier ones. Writing entries replaces all from the first one's index on. When
    `must_sync` is False only the commit index changed, which may be lost.

Applying
    Entries arrive once each, in order, starting behind `Options.applied`. For an entry of type
    CONF_CHANGE call `apply_conf_change(entry)`; a normal entry without data is a new leader's.
    A snapshot replaces the application's whole state. Serve a read of `read_states` once its
    index is applied. With every snapshot that the application takes it stores the ConfState that
    `apply_conf_change` returned last.

Asynchronous writes (`Options.async_writes`)
    `advance` is not called, and `ready` may be called again while writes are under way. Queue
    the writes of each Ready, in order; when one is durable, deliver its `messages_after_append`:
    to the others by the network, those addressed to the member itself by `step`. Queue the
    applying, in order; when done, `step` the `messages_after_apply`. Committed entries are then
    handed out only when they are durable here. Writing and applying need not wait for each
    other, except that a snapshot's writing includes applying it and so waits for what is queued.

Starting and restarting
    All first members start with a storage whose initial ConfState names them all (for
    `MemoryStorage` the argument), the same everywhere. A member that joins starts with an empty
    one and waits to be added. If members may join before the first snapshot covers the founding
    members, record those in the log with `bootstrap` instead. After a restart the node continues
    from what storage holds; only what was durable counts.

Randomness and time
    `Options.draw` is all the randomness there is: same draws, ticks and messages give the same
    run. Ticks need not be even; lease reads alone rely on their length (see `reads`).

The modules, from below: message, storage, unstable, log; quorum, inflight, progress, confchange,
configuration, tracker; options, state; replication, reads, election, follower, candidate, leader;
step, ready, node.
"""

from sampan.raft.bootstrap import bootstrap
from sampan.raft.confchange import Change, ChangeType, ConfChange, Transition
from sampan.raft.errors import (
    Compacted,
    ConfChangeError,
    ProposalDropped,
    RaftError,
    SnapshotOutOfDate,
    SnapshotUnavailable,
    StorageError,
    Unavailable,
)
from sampan.raft.message import (
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MsgType,
    ReadState,
    Role,
    Snapshot,
    SoftState,
    size_of,
)
from sampan.raft.node import Node
from sampan.raft.options import Options, ReadMode
from sampan.raft.ready import MemberStatus, Ready, Status
from sampan.raft.storage import EntryWindow, MemoryStorage, Storage

__all__ = [
    "Change",
    "ChangeType",
    "Compacted",
    "ConfChange",
    "ConfChangeError",
    "ConfState",
    "Entry",
    "EntryType",
    "EntryWindow",
    "HardState",
    "MemberStatus",
    "MemoryStorage",
    "Message",
    "MsgType",
    "Node",
    "Options",
    "ProposalDropped",
    "RaftError",
    "ReadMode",
    "ReadState",
    "Ready",
    "Role",
    "Snapshot",
    "SnapshotOutOfDate",
    "SnapshotUnavailable",
    "SoftState",
    "Status",
    "Storage",
    "StorageError",
    "Transition",
    "Unavailable",
    "bootstrap",
    "size_of",
]
