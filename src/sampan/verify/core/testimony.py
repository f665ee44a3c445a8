"""What watchers say about the order of writes: what they were told, and what they were not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.verify.core.history import Change, Watcher
from sampan.verify.core.model import Changes
from sampan.verify.core.timeline import wanted

__all__ = ["Testimony"]


@dataclass(slots=True)
class _Witness:
    """One watcher: the revisions of which it was told all that it wants, and what that was."""

    watcher: Watcher
    spans: list[tuple[int, int]] = field(default_factory=list)
    told: set[tuple[int, bytes]] = field(default_factory=set)

    @classmethod
    def of(cls, watcher: Watcher) -> _Witness:
        self = cls(watcher)
        begin = reached = watcher.start - 1 if watcher.start else -1
        for notice in watcher.notices:
            if notice.kind == "compacted":
                self.spans.append((begin, reached))
                begin = reached = max(reached, notice.revision - 1)
            elif notice.kind == "resume":
                begin, reached = (notice.revision - 1,) * 2 if begin < 0 else (begin, reached)
            elif notice.kind == "events":
                self.told.update((one.revision, one.key) for one in notice.changes)
                reached = max([reached, *(one.revision for one in notice.changes)])
            else:
                reached = max(reached, notice.revision)
        self.spans.append((begin, reached))
        return self

    def misses(self, revision: int, changes: Changes) -> bool:
        """Say whether it would have been told of these changes, and was not."""
        if not any(begin < revision <= reached for begin, reached in self.spans if begin >= 0):
            return False
        return any(
            wanted(self.watcher, Change(key, revision, record)) and (revision, key) not in self.told
            for key, record in changes.items()
        )


class Testimony:
    """All watchers of a history together. None of them is believed; they only help to choose."""

    def __init__(self, watchers: Iterable[Watcher] = ()) -> None:
        self._witnesses = [_Witness.of(one) for one in watchers]
        seen: dict[int, dict[bytes, Change]] = {}
        for watcher in (one.watcher for one in self._witnesses):
            for notice in watcher.notices:
                for change in notice.changes:
                    seen.setdefault(change.revision, {})[change.key] = change
                    if (prev := change.prev) is not None:
                        shown = Change(prev.key, prev.mod, prev)
                        seen.setdefault(prev.mod, {}).setdefault(prev.key, shown)
        self._seen = {revision: tuple(changes.values()) for revision, changes in seen.items()}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def __contains__(self, revision: int) -> bool:
        return revision in self._seen

    def at(self, revision: int) -> tuple[Change, ...]:
        """What anybody was told of a revision, previous values included."""
        return self._seen.get(revision, ())

    def agrees(self, revision: int, changes: Changes) -> bool:
        """Say whether these changes are what watchers were told of, and none that they were not."""
        told = all(
            one.key in changes and changes[one.key] == one.record for one in self.at(revision)
        )
        return told and not any(one.misses(revision, changes) for one in self._witnesses)
