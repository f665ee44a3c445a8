"""Releases: what was shipped, when and how it ended, as it stands in the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sampan.base.errors import NotFoundError

__all__ = [
    "LIVE",
    "PREFIX",
    "Release",
    "current",
    "decode",
    "encode",
    "key_of",
    "next_number",
    "to_return_to",
]

PREFIX: Final = "/sampan/releases/"
LIVE: Final = "live"


@dataclass(frozen=True, slots=True)
class Release:
    """`outcome` is `live` or `failed`; `body` makes its container again."""

    name: str
    number: int
    created: str
    outcome: str
    image: str
    size_bytes: int = 0
    platform: str = ""
    detail: str = ""
    rollback_of: int = 0
    health_http: str = ""
    health_port: str = ""
    health_timeout_s: float = 30.0
    addresses: Sequence[str] = ()
    steps: Mapping[str, float] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


def key_of(name: str, number: int) -> str:
    """Return the key of a release."""
    return f"{PREFIX}{name}/{number}"


def encode(release: Release) -> str:
    """Return a release's value."""
    return json.dumps(asdict(release))


def decode(values: Iterable[bytes]) -> list[Release]:
    """Return the releases that values hold, by number; what cannot be read is left out."""
    found = []
    known = Release.__dataclass_fields__
    for value in values:
        try:
            document = json.loads(value)
            fields = {key: one for key, one in document.items() if key in known}
            fields["addresses"] = tuple(fields.get("addresses") or ())
            found.append(Release(**fields))
        except (ValueError, TypeError, AttributeError):
            continue
    return sorted(found, key=lambda one: (one.name, one.number))


def next_number(releases: Sequence[Release]) -> int:
    """Return the number after the last one."""
    return max((one.number for one in releases), default=0) + 1


def current(releases: Sequence[Release]) -> Release | None:
    """Return the release that runs: the newest that went live."""
    return next((one for one in reversed(releases) if one.outcome == LIVE), None)


def to_return_to(releases: Sequence[Release], number: int) -> Release:
    """Return the release of that number, or for 0 the last live one before the present one.

    Raises NotFoundError when there is none, or when it never ran.
    """
    if number:
        found = next((one for one in releases if one.number == number), None)
        if found is None:
            raise NotFoundError(f"there is no release {number}")
        if found.outcome != LIVE:
            raise NotFoundError(f"release {number} never ran: {found.detail}")
        return found
    now = current(releases)
    if now is None:
        raise NotFoundError("nothing has gone live yet")
    # What was returned to is not what is returned from: go behind the release that it repeats.
    start = now.rollback_of or now.number
    for one in reversed(releases):
        if one.number < start and one.outcome == LIVE and not _same(one, now):
            return one
    raise NotFoundError(f"there is no release before {start} to return to")


def _same(one: Release, other: Release) -> bool:
    return one.image == other.image and one.body == other.body
