"""Lists of targets as people write them, and what patterns in them stand for.

These functions are written into workflows too (see `ciplan`), so that a run understands a list as
the command does: they use nothing but the imports of this file, which any Python 3.9 has.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection

__all__ = ["chosen_targets", "picked_targets", "split_list"]


def split_list(text: str, options: Collection[str]) -> list[str]:
    """Split at commas; an option behind a comma belongs to the level before it."""
    found: list[str] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        if part in options and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def picked_targets(pattern: str, targets: list[str]) -> list[str]:
    """Return the target of this name, else all that match; parts not written may be anything."""
    plain = {one: one.replace("/arm/v", "/arm/").split("/") for one in targets}
    wanted = pattern.replace("/arm/v", "/arm/").split("/")
    same = [one for one in targets if plain[one] == wanted]
    return same or [
        one
        for one in targets
        if len(wanted) <= len(plain[one])
        and all(map(fnmatch.fnmatchcase, plain[one][: len(wanted)], wanted))
    ]


def chosen_targets(wanted: list[str], excluded: list[str], allowed: list[str]) -> list[str]:
    """Return what is wanted and not excluded; ValueError for a pattern that stands for nothing."""
    for pattern in wanted + excluded:
        if not picked_targets(pattern, allowed):
            named = ascii(pattern[:100]).replace("#", "?")
            raise ValueError(f"{named} is not among the allowed targets: {', '.join(allowed)}")
    kept = {one for pattern in wanted for one in picked_targets(pattern, allowed)}
    kept -= {one for pattern in excluded for one in picked_targets(pattern, allowed)}
    if not kept:
        raise ValueError("no target is left to build: all that were wanted are excluded")
    return [one for one in allowed if one in kept]
