"""Changes of the key space as the bytes of watch responses.

A batch of changes is encoded once for all watchers that want the same of it. A response is then
header, watch ID and that body joined: nothing is built per watcher but the joined bytes.

Changes of several revisions may share a response, but no revision is ever split over two responses,
unless the watcher asked for fragments: then a response that would be larger than a request may be
is sent as several, all but the last marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from sampan.store.core.encode import varint

__all__ = [
    "COALESCE_BYTES",
    "FRAGMENT_BYTES",
    "Change",
    "Response",
    "Wish",
    "control_response",
    "encode_responses",
]

Change = tuple[bytes, bytes, int, bool, bytes | None]
"""key, serialized Event without prev_kv, main revision, deleted?, serialized previous KeyValue."""

Previous = Callable[[bytes, int], bytes | None]
"""(key, revision) to the serialized KeyValue of the key just before the revision, or None."""

COALESCE_BYTES: Final = 512 * 1024
"""A response that has this many bytes of events gets no further revision."""

FRAGMENT_BYTES: Final = (1536 + 512) * 1024
"""A response of this size is fragmented: the default request limit and 512 KiB of overhead."""

_OVERHEAD_BYTES = 64
"""Header and watch ID at their largest."""

_FRAGMENT = b"8\x01"


class Wish(NamedTuple):
    """What a watcher wants to see; watchers with equal wishes share the encoded bytes.

    `range_end` is empty for one key, `\\0` for every key from `key` on. A `first_rev` other than 0
    leaves out everything before it (a watch on a future revision).
    """

    key: bytes
    range_end: bytes = b""
    no_put: bool = False
    no_delete: bool = False
    prev_kv: bool = False
    fragment: bool = False
    progress_notify: bool = False
    first_rev: int = 0


class Response(NamedTuple):
    """The events of the revisions from `first_rev` to `last_rev`: several bodies are fragments.

    A body is everything of a WatchResponse behind the watch ID. `events` is their number.
    """

    first_rev: int
    last_rev: int
    bodies: tuple[bytes, ...]
    events: int


def encode_responses(
    changes: Iterable[Change],
    wish: Wish,
    previous: Previous | None = None,
    fragment_bytes: int = FRAGMENT_BYTES,
) -> list[Response]:
    """Return the responses for `changes`, which are in order and all lie in the wish's range.

    `previous` finds a previous record that a change does not carry itself.
    """
    responses: list[Response] = []
    parts: list[bytes] = []
    size = first = last = 0
    _, _, no_put, no_delete, prev_kv, fragment, _, wished_rev = wish
    limit = fragment_bytes if fragment else 0
    for change in changes:
        key, event, rev, deleted, before = change
        if (no_delete if deleted else no_put) or rev < wished_rev:
            continue
        if size >= COALESCE_BYTES and rev != last:
            responses.append(_response(first, last, parts, size, limit))
            parts, size, first = [], 0, 0
        if prev_kv:
            if before is None and previous is not None:
                before = previous(key, rev)
            if before is not None:
                event = b"".join((event, b"\x1a", varint(len(before)), before))
        part = b"".join((b"Z", varint(len(event)), event))
        parts.append(part)
        size += len(part)
        first = first or rev
        last = rev
    if parts:
        responses.append(_response(first, last, parts, size, limit))
    return responses


def control_response(
    head: bytes,
    watch_id: int,
    *,
    created: bool = False,
    canceled: bool = False,
    compact_rev: int = 0,
    reason: str = "",
) -> bytes:
    """Return a serialized WatchResponse without events; `head` is its header as field 1."""
    parts = [head]
    if watch_id:
        parts += (b"\x10", varint(watch_id))
    if created:
        parts.append(b"\x18\x01")
    if canceled:
        parts.append(b" \x01")
    if compact_rev:
        parts += (b"(", varint(compact_rev))
    if reason:
        text = reason.encode()
        parts += (b"2", varint(len(text)), text)
    return b"".join(parts)


def _response(first: int, last: int, parts: list[bytes], size: int, limit: int) -> Response:
    if not limit or size + _OVERHEAD_BYTES < limit or len(parts) < 2:
        return Response(first, last, (b"".join(parts),), len(parts))
    bodies: list[bytes] = []
    body: list[bytes] = []
    filled = _OVERHEAD_BYTES
    for part in parts:
        if body and filled + len(part) >= limit:
            bodies.append(_FRAGMENT + b"".join(body))
            body, filled = [], _OVERHEAD_BYTES
        body.append(part)
        filled += len(part)
    bodies.append(b"".join(body))
    return Response(first, last, tuple(bodies), len(parts))
