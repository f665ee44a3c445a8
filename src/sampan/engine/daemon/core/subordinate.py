"""Ids of user namespaces: ranges of /etc/subuid and /etc/subgid, and the maps they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = ["IdMaps", "id_maps", "maps_of_document", "ranges_of"]

NOBODY: Final = 65534
Range = tuple[int, int]
"""First id on the host, and how many."""


@dataclass(frozen=True, slots=True)
class IdMaps:
    """Which ids of the host the ids of a container are; containers count from 0 without gaps."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]

    @property
    def root(self) -> Range:
        """The host's uid and gid that are root in a container."""
        return self.uids[0][0], self.gids[0][0]

    def inward(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the host's ids of a container's; InvalidError for those that are not mapped."""
        return _host_id(self.uids, uid), _host_id(self.gids, gid)

    def outward(self, uid: int, gid: int) -> tuple[int, int]:
        """Return a container's ids of the host's; nobody's for those that are not mapped."""
        return _own_id(self.uids, uid), _own_id(self.gids, gid)

    def sections(self) -> dict[str, list[dict[str, int]]]:
        """Return `uidMappings` and `gidMappings` of the OCI specification."""
        return {"uidMappings": _section(self.uids), "gidMappings": _section(self.gids)}


def maps_of_document(document: Mapping[str, Any] | None) -> IdMaps | None:
    """Return the maps of a record of its own, None for none: `uids` and `gids`, lists of ranges."""
    if not document:
        return None
    uids, gids = (tuple((one[0], one[1]) for one in document[key]) for key in ("uids", "gids"))
    return IdMaps(uids, gids)


def _host_id(ranges: Sequence[Range], number: int) -> int:
    first = 0
    for start, count in ranges:
        if first <= number < first + count:
            return start + number - first
        first += count
    raise InvalidError(f"the id {number} is not mapped: containers have {first} ids")


def _own_id(ranges: Sequence[Range], number: int) -> int:
    first = 0
    for start, count in ranges:
        if start <= number < start + count:
            return first + number - start
        first += count
    return NOBODY


def _section(ranges: Sequence[Range]) -> list[dict[str, int]]:
    found, first = [], 0
    for start, count in ranges:
        found.append({"containerID": first, "hostID": start, "size": count})
        first += count
    return found


def ranges_of(text: str, owners: Sequence[str]) -> tuple[Range, ...]:
    """Return the ranges that a file of lines `owner:first:count` gives to any of the owners.

    Lines that cannot be read are passed over, as the system's own tools do.
    """
    found = []
    for line in text.splitlines():
        owner, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if owner in owners and first.isdigit() and count.isdigit() and int(count) > 0:
            found.append((int(first), int(count)))
    return tuple(sorted(found))


def id_maps(uids: Sequence[Range], gids: Sequence[Range]) -> IdMaps | None:
    """Return the maps of two lists of ranges, None when one of them is empty."""
    return IdMaps(tuple(uids), tuple(gids)) if uids and gids else None
