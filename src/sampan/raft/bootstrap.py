"""The first entries of a cluster whose log names its founding members."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.raft.confchange import Change, ChangeType, ConfChange, encode
from sampan.raft.message import Entry, EntryType, HardState

__all__ = ["bootstrap"]


def bootstrap(members: Mapping[int, bytes]) -> tuple[HardState, tuple[Entry, ...]]:
    """Return what every founding member writes to its empty storage before it starts.

    `members` maps each founder's id to the context of its change, the same on all of them. The
    entries count as committed and are handed out for applying like any others, so that a member
    that joins later learns the founders from the log. ConfState starts empty.
    """
    entries = tuple(
        Entry(
            1,
            index,
            encode(ConfChange((Change(ChangeType.ADD_VOTER, member),), context=context)),
            EntryType.CONF_CHANGE,
        )
        for index, (member, context) in enumerate(sorted(members.items()), 1)
    )
    return HardState(term=1, commit=len(entries)), entries
