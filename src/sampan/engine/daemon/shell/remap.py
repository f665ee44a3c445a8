"""`--userns-remap`: whose subordinate ids the containers of this daemon have."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError
from sampan.engine.daemon.core.subordinate import IdMaps, id_maps, ranges_of

__all__ = ["remapped_ids"]

_DEFAULT: Final = "dockremap"
_SUBUID, _SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


def remapped_ids(option: str, subuid: Path = _SUBUID, subgid: Path = _SUBGID) -> IdMaps | None:
    """Return the maps that the option means, None for an empty one.

    `default` is the user dockremap, who needs no account but entries in both files. Raises
    InvalidError with what is missing.
    """
    if not option:
        return None
    user, _, group = option.partition(":")
    names = [_DEFAULT] if user == "default" else _user(user)
    if "root" in names:
        raise InvalidError(
            "Cannot setup user namespaces for the root user: that is what no remapping means"
        )
    if group:
        _group(group)
    uids = ranges_of(_text(subuid), names)
    gids = ranges_of(_text(subgid), names)
    for kind, found, path in (("subuid", uids, subuid), ("subgid", gids, subgid)):
        if not found:
            raise InvalidError(
                f'Can\'t create ID mappings: no {kind} ranges found for user "{names[0]}" in {path}'
            )
    return id_maps(uids, gids)


def _user(text: str) -> list[str]:
    """Return what a user may be called in the files: name and number."""
    try:
        found = pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
    except KeyError:
        raise InvalidError(f'userns-remap: error during uid lookup for "{text}"') from None
    return [found.pw_name, str(found.pw_uid)]


def _group(text: str) -> None:
    try:
        grp.getgrgid(int(text)) if text.isdigit() else grp.getgrnam(text)
    except KeyError:
        raise InvalidError(f'userns-remap: error during gid lookup for "{text}"') from None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
