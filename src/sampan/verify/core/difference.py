"""Does an answer agree with what the model answers? If not, the first difference in words."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.verify.core.request import Branched, Deleted, Done, Ranged, Record, Result, Wrote

__all__ = ["difference", "kv_text", "text_of"]


def text_of(data: bytes) -> str:
    """Bytes as a reader wants them: text in quotes, anything else as Python writes it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data)
    return f'"{text}"' if text.isprintable() else repr(data)


def kv_text(record: Record | None) -> str:
    """A record in a few words: value, modification revision, version."""
    if record is None:
        return "nothing"
    if not record.mod:
        return _value_text(record)
    lease = f", lease {record.lease:x}" if record.lease else ""
    return (
        f"{text_of(record.value)} (revision {record.mod}, created at {record.create}, "
        f"version {record.version}{lease})"
    )


def difference(told: Result, right: Result, *, revisions: bool = True) -> str | None:
    """Return in words where `told` differs from `right`, None when they agree.

    Without `revisions` only values, leases and versions other than 0 count: for histories that
    record no revisions.
    """
    if type(told) is not type(right):
        return f"the answer is of another kind: {type(told).__name__}, not {type(right).__name__}"
    found = _content(told, right, revisions)
    if found is None and revisions and not isinstance(told, Done):
        if told.revision is not None and told.revision != right.revision:
            return f"it names revision {told.revision}, right is {right.revision}"
    return found


def _content(told: Result, right: Result, revisions: bool) -> str | None:
    if isinstance(told, Wrote) and isinstance(right, Wrote):
        return _one(told.prev, right.prev, revisions, "the previous value")
    if isinstance(told, Ranged) and isinstance(right, Ranged):
        return _ranged(told, right, revisions)
    if isinstance(told, Deleted) and isinstance(right, Deleted):
        if told.deleted != right.deleted:
            return f"it says {told.deleted} deleted, right is {right.deleted}"
        return _many(told.prevs, right.prevs, revisions)
    if isinstance(told, Branched) and isinstance(right, Branched):
        return _branched(told, right, revisions)
    return None


def _ranged(told: Ranged, right: Ranged, revisions: bool) -> str | None:
    found = _many(told.kvs, right.kvs, revisions)
    if found is None and told.count != right.count:
        return f"it counts {told.count}, right is {right.count}"
    if found is None and told.more != right.more:
        return f"it says more: {told.more}, right is {right.more}"
    return found


def _branched(told: Branched, right: Branched, revisions: bool) -> str | None:
    if told.succeeded != right.succeeded:
        names = {True: "success", False: "failure"}
        return f"the branch {names[told.succeeded]} ran, right is {names[right.succeeded]}"
    if len(told.results) != len(right.results):
        return f"{len(told.results)} operations answered, right is {len(right.results)}"
    for number, (one, other) in enumerate(zip(told.results, right.results, strict=True), 1):
        if type(one) is not type(other):
            return f"operation {number} of the branch answers for another kind of operation"
        found = _content(one, other, revisions)
        if found is not None:
            return f"in operation {number} of the branch {found}"
    return None


def _many(told: Sequence[Record], right: Sequence[Record], revisions: bool) -> str | None:
    if len(told) == len(right) and all(map(_same, told, right, [revisions] * len(told))):
        return None
    if [one.key for one in told] != sorted({one.key for one in told}):
        return "its keys are not in order, or come twice"
    mine, theirs = {one.key: one for one in told}, {one.key: one for one in right}
    for key in sorted(mine.keys() | theirs.keys()):
        found = _one(mine.get(key), theirs.get(key), revisions, text_of(key))
        if found is not None:
            return found
    return None


def _one(told: Record | None, right: Record | None, revisions: bool, what: str) -> str | None:
    if told is None and right is None:
        return None
    if told is not None and right is not None and _same(told, right, revisions):
        return None
    texts = [kv_text(one) if revisions else _value_text(one) for one in (told, right)]
    return f"{what} is told as {texts[0]}, right is {texts[1]}"


def _value_text(record: Record | None) -> str:
    return text_of(record.value) if record else "nothing"


def _same(told: Record, right: Record, revisions: bool) -> bool:
    if revisions:
        return told == right
    if told.version and told.version != right.version:
        return False
    return (told.key, told.value, told.lease) == (right.key, right.value, right.lease)
