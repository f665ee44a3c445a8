"""Users and groups by name, from the text of a root's own `/etc/passwd` and `/etc/group`.

Rules as Docker's for `--user`: "user", "uid", "user:group", "uid:gid"; a number needs no entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sampan.base.errors import InvalidError
from sampan.base.record import record

__all__ = ["Identity", "resolve"]

_MAX_ID = (1 << 31) - 1


@record
class Identity:
    """Numbers that a name stands for, and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(
    wanted: str, extra: Sequence[str], passwd: str, group: str, memberships: str = ""
) -> Identity:
    """Return the identity of `wanted` with the additional groups `extra`.

    The groups that list the user count when no group is named; always with `memberships`
    "merge", never with "strict".
    Raises InvalidError with Docker's words when a name has no entry.
    """
    user, _, group_name = wanted.partition(":")
    users, groups = _lines(passwd, 7), _lines(group, 4)
    found = next((one for one in users if one[0] == user), None)
    if found is None and user.isdigit():
        found = next((one for one in users if one[2] == user), None)
    if found is None and user and not user.isdigit():
        raise InvalidError(f"unable to find user {user}: no matching entries in passwd file")
    uid = _number(found[2] if found else user or "0")
    gid = _number(found[3]) if found else 0
    if group_name:
        gid = _group(group_name, groups)
    listed: list[int] = []
    if found and memberships != "strict" and (memberships == "merge" or not group_name):
        listed = [_number(one[2]) for one in groups if found[0] in one[3].split(",")]
    listed += [_group(name, groups) for name in extra]
    home = found[5] if found and found[5] else "/"
    # The own group is listed too: a file that denies its group must not be open to who left it.
    return Identity(uid, gid, tuple(dict.fromkeys([gid, *listed])), home)


def _group(name: str, groups: Iterable[list[str]]) -> int:
    for one in groups:
        if one[0] == name:
            return _number(one[2])
    if name.isdigit():
        return _number(name)
    raise InvalidError(f"unable to find group {name}: no matching entries in group file")


def _number(text: str) -> int:
    if not text.isdigit() or int(text) > _MAX_ID:
        raise InvalidError(f"uids and gids must be in range 0-{_MAX_ID}")
    return int(text)


def _lines(text: str, columns: int) -> list[list[str]]:
    """Split into records; short ones are filled up, as some images have them."""
    records = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            fields = line.split(":")
            fields += [""] * (columns - len(fields))
            if fields[2].isdigit():
                records.append(fields)
    return records
