"""One Watch RPC: the watches of a stream, what its requests do, and what it is answered.

Source: the v3 API's Watch service. A watch is announced (`created`) before its first event. A watch
that cannot be made is announced and canceled in one response, with ID -1 and the reason.
"""

from __future__ import annotations

from typing import Final, Protocol

from sampan.store.core import errors
from sampan.store.core.ranges import is_empty
from sampan.store.core.watch import WatchHub
from sampan.store.core.watch_events import Wish, control_response
from sampan.store.core.watch_groups import Sink, Watcher
from sampan.store.pb.rpc_pb2 import WatchCreateRequest, WatchRequest
from sampan.wire.grpc.status import RpcError

__all__ = ["INVALID_WATCH_ID", "Permission", "WatchStream"]

INVALID_WATCH_ID: Final = -1
"""The ID in a response that is about no watch, or about all watches of the stream."""


class Permission(Protocol):
    """Who may watch what, for the caller of one stream."""

    def check(self, key: bytes, range_end: bytes) -> None:
        """Raise the RpcError that stands against a new watch of this range, if one does."""
        ...

    def still(self, key: bytes, range_end: bytes) -> bool:
        """Say whether a watch of this range may go on."""
        ...


_EMPTY_RANGE = "mvcc: watcher range is empty"
_DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"
# Refusals that are reported as what they are; all others read "permission denied".
_NAMED = (errors.INVALID_AUTH_TOKEN, errors.AUTH_OLD_REVISION, errors.USER_EMPTY)


class WatchStream:
    """The watches that share a stream; `permission` is asked when one is made and by `recheck`."""

    def __init__(self, hub: WatchHub, sink: Sink, permission: Permission | None = None) -> None:
        self._hub = hub
        self._sink = sink
        self._permission = permission
        self._watchers: dict[int, Watcher] = {}
        self._next_id = 0
        self._progress_wanted = False
        hub.open(self)

    def __len__(self) -> int:
        return len(self._watchers)

    def handle(self, request: WatchRequest) -> None:
        """Do what a request of the client asks; one that asks nothing known is ignored."""
        match request.WhichOneof("request_union"):
            case "create_request":
                self.create(request.create_request)
            case "cancel_request":
                self.cancel(request.cancel_request.watch_id)
            case "progress_request":
                self.request_progress()

    def create(self, request: WatchCreateRequest) -> None:
        """Make a watch and announce it, or say why not."""
        key = request.key or b"\x00"
        reason = self._refusal(request, key)
        if reason:
            self._control(INVALID_WATCH_ID, created=True, canceled=True, reason=reason)
            return
        watch_id = request.watch_id or self._free_id()
        filters = set(request.filters)
        wish = Wish(
            key,
            request.range_end,
            no_put=WatchCreateRequest.NOPUT in filters,
            no_delete=WatchCreateRequest.NODELETE in filters,
            prev_kv=request.prev_kv,
            fragment=request.fragment,
            progress_notify=request.progress_notify,
        )
        watcher = Watcher(watch_id, wish, self._sink, self)
        self._watchers[watch_id] = watcher
        self._control(watch_id, created=True)
        self._hub.join(watcher, request.start_revision)

    def cancel(self, watch_id: int) -> None:
        """End a watch and confirm it; an unknown ID is ignored, as it may have ended by itself."""
        watcher = self._watchers.pop(watch_id, None)
        if watcher is None:
            return
        self._hub.leave(watcher)
        self._control(watch_id, canceled=True)
        self._settle()

    def request_progress(self) -> None:
        """Report the revision that all watches of the stream have seen, once they are synced.

        While one waits for a future revision there is none, and no answer (as from etcd).
        """
        revision = self._hub.revision
        if any(watcher.wish.first_rev > revision for watcher in self._watchers.values()):
            return
        self._progress_wanted = True
        if not self._settle():
            self._hub.after_sync(self._settle)

    def tick(self) -> None:
        """Report progress to each watch that wants it and had nothing since the last tick."""
        for watcher in self._watchers.values():
            if not watcher.wish.progress_notify:
                continue
            if watcher.quiet and watcher.synced:
                self._control(watcher.watch_id)
            watcher.quiet = True

    def recheck(self) -> None:
        """Cancel the watches that are no longer permitted; may be called inside a batch."""
        for watch_id, watcher in list(self._watchers.items()):
            permission, wish = self._permission, watcher.wish
            if permission is None or permission.still(wish.key, wish.range_end):
                continue
            del self._watchers[watch_id]
            self._hub.leave(watcher)
            reason = _reason(errors.PERMISSION_DENIED())
            self._control(watch_id, canceled=True, reason=reason)
        # Not at once: this may be the middle of a batch, whose events are still to come.
        self._hub.wake()

    def close(self) -> None:
        """End all watches without a word."""
        self._hub.close(self)
        for watcher in self._watchers.values():
            self._hub.leave(watcher)
        self._watchers.clear()

    def compacted(self, watcher: Watcher, compact_rev: int) -> None:
        """Cancel a watch that has to see what is compacted away."""
        self._watchers.pop(watcher.watch_id, None)
        # etcd leaves the revision of this header and the reason empty; clients read the field.
        head = self._hub.head(0)
        self._sink.send(
            control_response(head, watcher.watch_id, canceled=True, compact_rev=compact_rev)
        )
        self._settle()

    def _refusal(self, request: WatchCreateRequest, key: bytes) -> str:
        if request.start_revision < 0:
            return errors.COMPACTED.message
        if self._permission is not None:
            try:
                self._permission.check(key, request.range_end)
            except RpcError as error:
                return _reason(error)
        if is_empty(key, request.range_end):
            return _EMPTY_RANGE
        if request.watch_id and request.watch_id in self._watchers:
            return _DUPLICATE_ID
        return ""

    def _free_id(self) -> int:
        while self._next_id in self._watchers:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _settle(self) -> bool:
        """Answer a progress request if that is possible; return whether none is open."""
        if not self._progress_wanted or not self._watchers:
            self._progress_wanted = False
            return True
        if not all(watcher.synced for watcher in self._watchers.values()):
            return False
        self._progress_wanted = False
        self._control(INVALID_WATCH_ID)
        return True

    def _control(
        self, watch_id: int, *, created: bool = False, canceled: bool = False, reason: str = ""
    ) -> None:
        head = self._hub.head(self._hub.revision)
        self._sink.send(
            control_response(head, watch_id, created=created, canceled=canceled, reason=reason)
        )


def _reason(error: RpcError) -> str:
    if not any(each.matches(error) for each in _NAMED):
        error = errors.PERMISSION_DENIED()
    code = error.code.name.title().replace("_", "")
    return f"rpc error: code = {code} desc = {error.message}"
