"""The decisions of a watch that survives anything. Pure: no streams, no clock, no randomness.

`Resume.step(event)` takes what happened and returns a `Step`: at most one batch for the caller and
exactly one thing to do next.

    event                          what happened
    Begin                          the caller wants the watch
    Received(WatchResponse)        the stream delivered a response
    Broken(error | None)           the stream (or the attempt to open one) ended
    Waited                         the delay is over
    Refreshed                      a new auth token is there
    Listed(RangeResponse)          the range was read at the current revision
    Checked(RangeResponse)         the store's current revision was read
    ReadFailed(error)              List or Check could not be done

    next                           what to do
    Read                           take the next response from the stream
    Open(start_revision)           drop the stream if there is one, open a new one, create the watch
    Wait(delay_s)                  drop the stream, wait
    Refresh                        drop the stream, get a new auth token
    List                           drop the stream, read the whole range (linearizable)
    Check                          keep the stream, read the store's revision (linearizable)
    Fail(error)                    drop the stream, raise

Rules, each of which keeps something from being lost, doubled or out of order:
- The next stream starts at the revision after the last one delivered. A progress notification and
  the answer to a watch "from now" advance it too, though they carry no events.
- Fragments of one response are delivered together, or not at all when the stream breaks in between.
- Events below the stream's start revision are dropped; events out of order break the stream.
- A compacted start revision leads to a list, reported to the caller; the watch goes on behind it.
- A server that is behind what was seen before is either a lagging member (fine: it stays silent
  until it gets there) or another history (list, reported). A linearizable read tells which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sampan.store.client.backoff import Backoff
from sampan.store.client.retry import Verdict, judge
from sampan.store.client.values import Event, KeyValue, Relist, WatchBatch
from sampan.store.pb import kv_pb2, rpc_pb2
from sampan.wire.grpc.status import Code, RpcError

__all__ = [
    "Begin",
    "Broken",
    "Check",
    "Checked",
    "Fail",
    "Input",
    "List",
    "Listed",
    "Next",
    "Open",
    "Read",
    "ReadFailed",
    "Received",
    "Refresh",
    "Refreshed",
    "Resume",
    "Step",
    "Wait",
    "Waited",
]


@dataclass(frozen=True, slots=True)
class Begin:
    """The caller wants the watch."""


@dataclass(frozen=True, slots=True)
class Received:
    """The stream delivered `response`."""

    response: rpc_pb2.WatchResponse


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream ended, or could not be opened; None when the server ended it with status OK."""

    error: RpcError | None


@dataclass(frozen=True, slots=True)
class Waited:
    """The delay asked for is over."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A new auth token is there."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The watched range as of the store's current revision."""

    response: rpc_pb2.RangeResponse


@dataclass(frozen=True, slots=True)
class Checked:
    """The store's current revision and identity."""

    response: rpc_pb2.RangeResponse


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """List, Check or Refresh failed with `error`, after the retries that are due to any read."""

    error: RpcError


Input = Begin | Received | Broken | Waited | Refreshed | Listed | Checked | ReadFailed


@dataclass(frozen=True, slots=True)
class Read:
    """Take the next response from the open stream."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream and create the watch at `start_revision`, 0 for "from now"."""

    start_revision: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait before the next attempt."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Refresh:
    """Get a new auth token."""


@dataclass(frozen=True, slots=True)
class List:
    """Read the watched range at the store's current revision."""


@dataclass(frozen=True, slots=True)
class Check:
    """Read the store's current revision, leaving the stream open."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the watch up with `error`."""

    error: RpcError


Next = Read | Open | Wait | Refresh | List | Check | Fail


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from an event: a batch for the caller, if any, then the next thing to do."""

    next: Next
    batch: WatchBatch | None = None


# A new attempt may succeed after these; everything else is a verdict about the request itself.
_PASSING = frozenset(
    {
        Code.UNAVAILABLE,
        Code.INTERNAL,
        Code.UNKNOWN,
        Code.CANCELLED,
        Code.ABORTED,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
    }
)
_DENIED = frozenset({Code.PERMISSION_DENIED, Code.UNAUTHENTICATED})
_GO_CODES = {code.name.replace("_", ""): code for code in Code} | {"CANCELED": Code.CANCELLED}
_GO_STATUS = re.compile(r"rpc error: code = (\w+) desc = (.*)", re.DOTALL)


class Resume:
    """The state of one logical watch across all the streams that it needs.

    `start_revision` 0 means from now. `authenticated` says that a token is in use, so that a denial
    may be a stale token's fault and is worth one new token. `report_progress` hands progress
    notifications to the caller as empty batches.
    """

    def __init__(
        self,
        backoff: Backoff,
        *,
        start_revision: int = 0,
        authenticated: bool = False,
        report_progress: bool = False,
    ) -> None:
        self._backoff = backoff
        self._next_rev = start_revision
        self._authenticated = authenticated
        self._report_progress = report_progress
        self._fragments: list[kv_pb2.Event] = []
        self._opened_at = start_revision
        self._in_stream_rev = 0
        self._seen_rev = 0
        self._cluster_id = 0
        self._refreshed = False
        self._relist: tuple[Literal["compacted", "reset"], int] | None = None

    @property
    def next_rev(self) -> int:
        """The first revision not yet delivered; 0 before the server named one."""
        return self._next_rev

    def step(self, event: Input) -> Step:
        """Take one event; see the module's table."""
        match event:
            case Received(response):
                return self._received(response)
            case Broken(error) if error is not None:
                return self._failed(error)
            case ReadFailed(error):
                return self._failed(error)
            case Broken():
                return self._wait()
            case Begin() | Waited() | Refreshed():
                return Step(List()) if self._relist else self._open()
            case Listed(listing):
                return self._listed(listing)
            case Checked(reading):
                return self._checked(reading)

    def _open(self) -> Step:
        self._fragments.clear()
        self._opened_at = self._next_rev
        self._in_stream_rev = 0
        return Step(Open(self._next_rev))

    def _wait(self) -> Step:
        self._fragments.clear()
        return Step(Wait(self._backoff.next_delay_s()))

    def _failed(self, error: RpcError) -> Step:
        stale = judge(error, repeatable=True) is Verdict.REFRESH_TOKEN or error.code in _DENIED
        if stale and self._authenticated and not self._refreshed:
            self._refreshed = True
            self._fragments.clear()
            return Step(Refresh())
        return self._wait() if error.code in _PASSING else Step(Fail(error))

    def _received(self, response: rpc_pb2.WatchResponse) -> Step:
        if response.canceled:
            return self._canceled(response)
        if response.created:
            return self._created(response)
        return self._events(response) if response.events else self._progress(response)

    def _created(self, response: rpc_pb2.WatchResponse) -> Step:
        self._backoff.reset()
        self._refreshed = False
        header = response.header
        if self._cluster_id and header.cluster_id != self._cluster_id:
            return self._list("reset", 0)
        self._cluster_id = header.cluster_id
        if header.revision < self._seen_rev:
            return Step(Check())
        self._seen_rev = header.revision
        if self._next_rev == 0:
            self._next_rev = header.revision + 1
        return Step(Read())

    def _checked(self, response: rpc_pb2.RangeResponse) -> Step:
        header = response.header
        if header.cluster_id != self._cluster_id or header.revision < self._seen_rev:
            return self._list("reset", 0)
        return Step(Read())

    def _canceled(self, response: rpc_pb2.WatchResponse) -> Step:
        if response.compact_revision:
            return self._list("compacted", response.compact_revision)
        error = _cancel_error(response.cancel_reason)
        return self._failed(error) if error.code is not Code.CANCELLED else Step(Fail(error))

    def _list(self, reason: Literal["compacted", "reset"], compact_rev: int) -> Step:
        self._fragments.clear()
        self._relist = (reason, compact_rev)
        return Step(List())

    def _listed(self, response: rpc_pb2.RangeResponse) -> Step:
        reason, compact_rev = self._relist or ("compacted", 0)
        self._relist = None
        self._backoff.reset()
        revision = response.header.revision
        self._cluster_id = response.header.cluster_id
        self._seen_rev = revision
        self._next_rev = revision + 1
        kvs = tuple(KeyValue.of(kv) for kv in response.kvs)
        relist = Relist(reason, compact_rev, kvs, revision)
        return Step(self._open().next, WatchBatch((), revision, relist))

    def _events(self, response: rpc_pb2.WatchResponse) -> Step:
        for event in response.events:
            if event.kv.mod_revision < self._in_stream_rev:
                return self._failed(RpcError(Code.INTERNAL, "watch events out of order"))
            self._in_stream_rev = event.kv.mod_revision
        fresh = [event for event in response.events if event.kv.mod_revision >= self._opened_at]
        if response.fragment:
            self._fragments.extend(fresh)
            return Step(Read())
        events = self._fragments + fresh
        self._fragments = []
        if not events:
            return Step(Read())
        revision = events[-1].kv.mod_revision
        self._advance(revision)
        return Step(Read(), WatchBatch(tuple(map(Event.of, events)), revision))

    def _progress(self, response: rpc_pb2.WatchResponse) -> Step:
        revision = response.header.revision
        if self._fragments or revision < self._next_rev - 1:
            return Step(Read())
        self._advance(revision)
        return Step(Read(), WatchBatch((), revision) if self._report_progress else None)

    def _advance(self, revision: int) -> None:
        self._next_rev = revision + 1
        self._seen_rev = max(self._seen_rev, revision)


def _cancel_error(reason: str) -> RpcError:
    """Return the error that a cancel reason spells; servers send Go's rendering of a status."""
    match = _GO_STATUS.fullmatch(reason)
    if match:
        code = _GO_CODES.get(match[1].upper(), Code.UNKNOWN)
        return RpcError(code, match[2])
    if reason.endswith("permission denied"):
        return RpcError(Code.PERMISSION_DENIED, reason)
    return RpcError(Code.CANCELLED, reason or "etcdserver: watch canceled")
