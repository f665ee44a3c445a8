"""Do all members hold the same data? Compared by hash, and what differs is declared corrupt.

The leader asks each member for the hash of its keys at one revision. For one with the same
compaction and another hash, or with more than the leader has, it raises the CORRUPT alarm: then
nothing is written until somebody has looked. A member that is to check itself before it serves
refuses to start.

Source: etcd's server/etcdserver/corrupt.go, release 3.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.store.core import errors
from sampan.store.core.apply import Responder, StateMachine
from sampan.store.core.entry import Kind
from sampan.store.core.hashing import KeyHash, hash_in_steps
from sampan.store.pb import rpc_pb2 as pb
from sampan.store.shell.log_holder import LogHolder
from sampan.store.shell.member_log import MemberLog, Replication
from sampan.store.shell.outcome import Outcome, barrier
from sampan.store.shell.steps import in_steps
from sampan.store.shell.storage import Storage
from sampan.wire.grpc.status import RpcError

__all__ = ["CorruptError", "Corruption", "Owner"]

_HASH: Final = "hash-kv"
_TIMEOUT_S: Final = 60.0


class CorruptError(SampanError):
    """This member's data are not those of the others."""


class Owner(Protocol):
    """The member whose data are compared."""

    state: StateMachine
    storage: Storage
    membership: Replication
    log: LogHolder[MemberLog]

    @property
    def leading(self) -> bool:
        """Whether this member leads."""

    def propose(self, kind: Kind, body: bytes, responder: Responder) -> None:
        """Put an entry of the server's own into the log."""


class Corruption:
    """Compares one member's data with those of the others."""

    def __init__(self, node: Owner, log: Logger) -> None:
        self._node = node
        self._log = log
        self._compared_compaction = 0
        node.membership.answer(_HASH, self._answer)

    async def refuse_if_differing(self) -> None:
        """Compare with every member that can be reached. Raises CorruptError."""
        mine = await self._hash(0)
        answers = await self._ask_all(mine.revision)
        for member_id, theirs in answers.items():
            if theirs.compact_revision == mine.compact_revision and theirs.hash != mine.hash:
                raise CorruptError(
                    f"the data of this member differ from those of member {member_id:x} at "
                    f"revision {mine.revision}: hash {mine.hash} is not {theirs.hash}; find out "
                    "which is right (etcdutl hashkv, etcdctl endpoint hashkv), then remove the "
                    "wrong member and add it again with an empty data directory"
                )
        self._log.info(
            "initial corruption checking passed; no corruption",
            **{"compared-members": [f"{member_id:x}" for member_id in answers]},
        )

    async def watch(self, interval_s: float) -> None:
        """Compare all of the data again and again while this member leads."""
        while True:
            await asyncio.sleep(interval_s)
            await self._quietly(0)

    async def watch_compactions(self, interval_s: float) -> None:
        """Compare what is kept of each compaction while this member leads."""
        while True:
            await asyncio.sleep(interval_s)
            compacted = self._node.state.mvcc.compact_revision
            if compacted > max(self._compared_compaction, 1) and self._node.leading:
                if await self._quietly(compacted):
                    self._compared_compaction = compacted

    async def _quietly(self, revision: int) -> bool:
        if not self._node.leading:
            return False
        try:
            await self.compare(revision)
        except RpcError as error:
            self._log.warning("failed to compare the members' data", error=error.message)
            return False
        return True

    async def compare(self, revision: int = 0) -> set[int]:
        """Compare all members at a revision (0: now), raise the alarm for those that differ."""
        mine = await self._hash(revision)
        answers = await self._ask_all(mine.revision)
        await self._barrier()  # so that whatever they had, this member has now
        after = await self._hash(revision)
        newest = self._node.state.mvcc.revision
        differing: set[int] = set()
        if mine[1:] == after[1:] and mine.hash != after.hash:
            differing.add(self._node.storage.member_id)
        for member_id, theirs in answers.items():
            if _differs(mine, after, theirs, newest):
                differing.add(member_id)
        for member_id in sorted(differing):
            await self._raise_alarm(member_id)
        if not differing:
            self._log.info(
                "compared the members' data; no corruption",
                revision=mine.revision,
                **{"compared-members": [f"{member_id:x}" for member_id in answers]},
            )
        return differing

    async def _raise_alarm(self, member_id: int) -> None:
        self._log.error(
            "alarm CORRUPT raised: writes are refused",
            **{"member-id": f"{member_id:x}"},
            cure="find out which members agree (etcdctl endpoint hashkv --cluster), replace the "
            "other one (etcdctl member remove, member add), then etcdctl alarm disarm",
        )
        request = pb.AlarmRequest(
            action=pb.AlarmRequest.ACTIVATE, memberID=member_id, alarm=pb.AlarmType.CORRUPT
        )
        outcome = Outcome()
        self._node.propose(Kind.ALARM, request.SerializeToString(), outcome)
        await outcome.future

    async def _barrier(self) -> None:
        await barrier(self._node.log)

    # ---- hashes

    async def _hash(self, revision: int) -> KeyHash:
        steps = hash_in_steps(self._node.state.mvcc, self._node.storage.backend, revision)
        return await in_steps(steps)

    async def _answer(self, body: bytes) -> bytes:
        request = pb.HashKVRequest.FromString(body)
        found = await self._hash(request.revision)
        return found.response(self._node.state.header()).SerializeToString()

    async def _ask_all(self, revision: int) -> Mapping[int, pb.HashKVResponse]:
        """Return the answers of the members that can be reached and have the revision."""
        request = pb.HashKVRequest(revision=revision).SerializeToString()
        others = list(self._node.state.cluster.peers())
        results = await asyncio.gather(*(self._ask(member_id, request) for member_id in others))
        return {
            member_id: answer
            for member_id, answer in zip(others, results, strict=True)
            if answer is not None
        }

    async def _ask(self, member_id: int, request: bytes) -> pb.HashKVResponse | None:
        try:
            answer = await self._node.membership.ask(member_id, _HASH, request, _TIMEOUT_S)
        except RpcError as error:
            level = self._log.info if errors.FUTURE_REV.matches(error) else self._log.warning
            level(
                "cannot compare with a member",
                **{"member-id": f"{member_id:x}"},
                error=error.message,
            )
            return None
        return pb.HashKVResponse.FromString(answer)


def _differs(mine: KeyHash, after: KeyHash, theirs: pb.HashKVResponse, newest: int) -> bool:
    """Tell whether a member has what the leader does not: more revisions, or other ones."""
    if theirs.header.revision > newest or theirs.compact_revision > after.compact_revision:
        return True
    return theirs.compact_revision == mine.compact_revision and theirs.hash != mine.hash
