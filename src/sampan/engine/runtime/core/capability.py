"""Linux capabilities: names, numbers, Docker's default set, and adding to and dropping from it.

Source: capabilities(7), linux/capability.h; the default set is Docker's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["ALL", "DEFAULT", "mask", "normalise", "tweak"]

ALL: Final = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
        "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
        "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
        "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
        "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
        "CHECKPOINT_RESTORE"
    ).split()
)
"""Every capability, at the index that is its number."""

DEFAULT: Final = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)
"""What a container has unless told otherwise."""

_NUMBER: Final = {name: number for number, name in enumerate(ALL)}


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of these names; InvalidError for an unknown one."""
    result = 0
    for name in names:
        number = _NUMBER.get(name)
        if number is None:
            raise InvalidError(f"unknown capability {name!r}")
        result |= 1 << number
    return result


def normalise(name: str) -> str:
    """Return a user's word as CAP_NAME or ALL; InvalidError in Docker's words."""
    upper = name.upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else "CAP_" + upper
    if full not in _NUMBER:
        raise InvalidError(f'invalid capability: "{full}"')
    return full


def tweak(add: Iterable[str], drop: Iterable[str], *, privileged: bool = False) -> tuple[str, ...]:
    """Return the set that `--cap-add`, `--cap-drop` and `--privileged` make of the default."""
    added = {normalise(name) for name in add}
    dropped = {normalise(name) for name in drop}
    if privileged:
        return ALL
    if "ALL" in added:
        return tuple(name for name in ALL if name not in dropped)
    base = () if "ALL" in dropped else DEFAULT
    chosen = (set(base) - dropped) | (added if "ALL" in dropped else added - dropped)
    return tuple(name for name in ALL if name in chosen)
