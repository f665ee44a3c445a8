"""Clients: they ask members for something, and remember what they were told, or that nobody told.

A call ends by its answer, by an error, or by nothing at all; then it is over after a while and its
outcome stays unknown, as for a real client whose connection broke.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from sampan.sim.member import Member
from sampan.sim.schedule import Step
from sampan.sim.world import World
from sampan.store.client.values import DeleteResult, OpResult, PutResult, RangeResult, TxnResult
from sampan.store.core import entry, query
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.verify import (
    Compact,
    Compare,
    Delete,
    Done,
    Grant,
    KeepAlive,
    Put,
    Range,
    Recorder,
    Request,
    Result,
    Revoke,
    Txn,
)
from sampan.verify.shell.calls import op_of, refused, result_of
from sampan.wire.grpc.status import Code, Metadata, RpcError

__all__ = ["Clients"]

TIMEOUT_MS: Final = 9000.0
KEYS: Final = 6
FIRST_LEASE: Final = 100


class Chooser(Protocol):
    """Who is there to ask."""

    def running(self) -> list[Member]:
        """The members whose process runs and is not paused."""


class _Call:
    """One call under way: a responder of the state machine."""

    def __init__(self, clients: Clients, process: int, member: Member, request: Request) -> None:
        self._clients = clients
        self._process = process
        self._request = request
        self._open = True
        world = clients.world
        life = member.life
        world.after(TIMEOUT_MS, self._give_up)
        self._member, self._life = member, life

    def _stands(self) -> bool:
        return self._member.up and self._member.life == self._life

    def reply(self, message: bytes) -> None:
        """Take the answer, if its connection still stands."""
        if self._open and self._stands():
            self._open = False
            self._clients.answered(self._process, self._request, message)

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        """Take an error: some say that nothing happened, others say nothing."""
        if not self._open or not self._stands():
            return
        self._open = False
        error = RpcError(code, message, metadata)
        self._clients.failed(self._process, self._request, error)

    def _give_up(self) -> None:
        if self._open:
            self._open = False
            self._clients.silent(self._process)


class Clients:
    """All clients of a run. `recorder` has what they saw."""

    def __init__(self, world: World, chooser: Chooser, count: int = 8) -> None:
        self.world = world
        self.recorder = Recorder()
        self.operations = 0
        self.acknowledged = 0
        self._chooser = chooser
        self._free = list(range(1, count + 1))
        self._leases: list[int] = []
        self._next_lease = FIRST_LEASE
        self._newest = 1

    def act(self, step: Step) -> None:
        """Let a client that has nothing to do ask for something; none is left when all wait."""
        members = self._chooser.running()
        if not self._free or not members:
            return
        request = self._request(step)
        if request is None:
            return
        process = self._free.pop(0)
        member = members[step.other % len(members)]
        self.operations += 1
        self.recorder.invoke(process, self.world.now_s, request)
        self.world.note(f"client {process} asks {member.id} for {step.kind}")
        call = _Call(self, process, member, request)
        delay_ms = 0.1 + self.world.random.random()
        life = member.life
        self.world.after(delay_ms, lambda: self._arrive(call, member, life, request))

    def _arrive(self, call: _Call, member: Member, life: int, request: Request) -> None:
        if not member.up or member.life != life:
            return  # the connection broke: whether it had arrived, nobody knows
        if isinstance(request, Range) and not request.serializable:
            member.replica.read(lambda: _read(call, member, request), _failing(call))
        elif isinstance(request, Range):
            _read(call, member, request)
        elif isinstance(request, KeepAlive):
            member.replica.read(lambda: _renew(call, member, request), _failing(call))
        else:
            kind, message = _entry_of(request)
            data = entry.encode(kind, message.SerializeToString())
            member.replica.propose(data, (call, kind, message, "", 0))
        member.work()

    def look(self, member: Member) -> None:
        """Read everything from one member, as the last thing that anybody asks."""
        request = Range(b"k0", b"l")
        self.recorder.invoke(0, self.world.now_s, request)
        call = _Call(self, 0, member, request)
        member.replica.read(lambda: _read(call, member, request), _failing(call))
        member.work()

    # ---- what is asked

    def _request(self, step: Step) -> Request | None:
        key = b"k%d" % (step.one % KEYS)
        value = b"v%d" % self.operations
        lease = self._leases[step.size % len(self._leases)] if self._leases else 0
        match step.kind:
            case "put":
                return Put(
                    key, value, lease if step.size % 5 == 0 else 0, prev_kv=step.size % 3 == 0
                )
            case "get":
                return Range(key, serializable=step.size % 4 == 0)
            case "range":
                return Range(b"k0", b"l", limit=step.size % 4)
            case "delete":
                return Delete(key, prev_kv=bool(step.size % 2))
            case "txn":
                return self._transaction(step, key, value)
            case "grant":
                self._next_lease += 1
                self._leases = [*self._leases[-3:], self._next_lease]
                return Grant(self._next_lease, 5 + step.size % 20)
            case "renew":
                return KeepAlive(lease) if lease else None
            case "revoke":
                return Revoke(lease) if lease else None
            case "compact":
                return Compact(self._newest) if self._newest > 1 else None
        return None

    def _transaction(self, step: Step, key: bytes, value: bytes) -> Txn:
        compare = Compare(key, "version", ">", step.size % 3)
        other = b"k%d" % (step.size % KEYS)
        success: tuple[Request, ...] = (Put(key, value), Range(other))
        if other != key and step.size % 2:
            success = (*success, Delete(other))
        return Txn((compare,), success, (Put(key, value),))

    # ---- what comes of it

    def answered(self, process: int, request: Request, message: bytes) -> None:
        """A call was answered."""
        result = _result(request, message)
        if result.revision is not None:
            self._newest = max(self._newest, result.revision)
        self.acknowledged += 1
        self.recorder.ok(process, self.world.now_s, result)
        self.world.note(f"client {process} hears {result}")
        self._free.append(process)

    def failed(self, process: int, request: Request, error: RpcError) -> None:
        """A call failed; a read that failed had no effect, whatever the error."""
        reads = isinstance(request, Range | KeepAlive)
        if reads or refused(error):
            self.recorder.fail(process, self.world.now_s, error.message)
        else:
            self.recorder.unknown(process, self.world.now_s, error.message)
        self.world.note(f"client {process} fails: {error.message}")
        self._free.append(process)

    def silent(self, process: int) -> None:
        """Nothing came."""
        self.recorder.unknown(process, self.world.now_s, "no answer")
        self.world.note(f"client {process} hears nothing")
        self._free.append(process)


def _failing(call: _Call) -> Callable[[RpcError], None]:
    return lambda error: call.fail(error.code, error.message, error.metadata)


def _read(call: _Call, member: Member, request: Range) -> None:
    wire = op_of(request).request_range
    state = member.state
    try:
        call.reply(query.answer(state.mvcc, wire, state.header_field()))
    except RpcError as error:
        call.fail(error.code, error.message)


def _renew(call: _Call, member: Member, request: KeepAlive) -> None:
    lessor = member.lessor
    if not lessor.primary:
        call.fail(Code.UNAVAILABLE, "not the leader")
        return
    try:
        ttl_s = 0 if lessor.has_run_out(request.lease) else lessor.renew(request.lease)
    except RpcError:
        ttl_s = 0
    answer = pb.LeaseKeepAliveResponse(header=member.state.header(), ID=request.lease, TTL=ttl_s)
    call.reply(answer.SerializeToString())


def _entry_of(request: Request) -> tuple[Kind, Message]:
    match request:
        case Grant(lease, ttl_s):
            return Kind.LEASE_GRANT, pb.LeaseGrantRequest(ID=lease, TTL=int(ttl_s))
        case Revoke(lease):
            return Kind.LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease)
        case Compact(revision):
            return Kind.COMPACT, pb.CompactionRequest(revision=revision)
    op = op_of(request)
    match request:
        case Put():
            return Kind.PUT, op.request_put
        case Delete():
            return Kind.DELETE_RANGE, op.request_delete_range
    return Kind.TXN, op.request_txn


_ANSWERS: Final[dict[type[Request], tuple[Any, Callable[[Any], OpResult]]]] = {
    Put: (pb.PutResponse, PutResult.of),
    Range: (pb.RangeResponse, RangeResult.of),
    Delete: (pb.DeleteRangeResponse, DeleteResult.of),
    Txn: (pb.TxnResponse, TxnResult.of),
}


def _result(request: Request, message: bytes) -> Result:
    if isinstance(request, KeepAlive):
        return Done(None, float(pb.LeaseKeepAliveResponse.FromString(message).TTL))
    if isinstance(request, Grant | Revoke | Compact):
        return Done(None)
    kind, make = _ANSWERS[type(request)]
    return result_of(make(kind.FromString(message)))
