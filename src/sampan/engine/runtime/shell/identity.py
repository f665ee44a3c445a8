"""Who the process becomes: limits, user, groups, capabilities, filter, in a safe order."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from typing import Final

from sampan.base.errors import InvalidError
from sampan.base.passwd import Identity, resolve
from sampan.base.record import record
from sampan.engine.runtime.core.spec import Process, Rlimit, User
from sampan.engine.runtime.shell import inside, syscalls
from sampan.engine.runtime.shell.idmap import in_user_namespace

__all__ = [
    "NO_CAPABILITIES",
    "CapabilityMasks",
    "act_as",
    "apply_identity",
    "apply_limits",
    "drop_capabilities",
    "held_capabilities",
    "home_of",
    "lookup_user",
]

_PR_CAPBSET_DROP, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 8, 38, 47
_PR_SET_DUMPABLE: Final = 4
_LAST_CAPABILITY: Final = 63
_FILE_LIMIT_BYTES: Final = 4 << 20


@record
class CapabilityMasks:
    """The five sets as bit masks."""

    bounding: int
    effective: int
    inheritable: int
    permitted: int
    ambient: int


NO_CAPABILITIES: Final = CapabilityMasks(0, 0, 0, 0, 0)


def lookup_user(root_fd: int, user: User) -> Identity:
    """Return the identity of the process, names looked up in the root's own files."""
    if not user.name and not user.extra_groups:
        return Identity(user.uid, user.gid, user.additional_gids, "")
    passwd, group = _text(root_fd, "/etc/passwd"), _text(root_fd, "/etc/group")
    name = user.name or f"{user.uid}:{user.gid}"
    found = resolve(name, user.extra_groups, passwd, group, user.memberships)
    groups = (*found.groups, *user.additional_gids)
    return Identity(found.uid, found.gid, tuple(dict.fromkeys(groups)), found.home)


def home_of(root_fd: int, uid: int) -> str:
    """Return the home that the root's own file has for a user, / when it has none."""
    return resolve(str(uid), (), _text(root_fd, "/etc/passwd"), "").home


def _text(root_fd: int, path: str) -> str:
    try:
        fd = inside.open_path(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(_FILE_LIMIT_BYTES).decode(errors="replace")


def apply_limits(rlimits: Sequence[Rlimit], pid: int = 0) -> None:
    """Set the resource limits of a process, 0 for this one."""
    for limit in rlimits:
        number = getattr(resource, limit.kind, None)
        if number is None:
            raise InvalidError(f"wrong rlimit value: {limit.kind}")
        pair = tuple(value if 0 <= value < 1 << 63 else -1 for value in (limit.soft, limit.hard))
        try:
            resource.prlimit(pid, number, (pair[0], pair[1]))
        except (ValueError, OSError) as error:
            code = getattr(error, "errno", None) or 22
            raise OSError(code, f"setrlimit {limit.kind}: {os.strerror(code)}") from error


def apply_identity(identity: Identity, masks: CapabilityMasks | None, umask: int | None) -> None:
    """Change user and groups, keeping the permitted capabilities until the filter is in."""
    if masks is not None:
        for number in range(_LAST_CAPABILITY + 1):
            if not masks.bounding >> number & 1:
                try:
                    syscalls.prctl(_PR_CAPBSET_DROP, number)
                except OSError:
                    break  # the kernel's last capability is behind
    syscalls.prctl(_PR_SET_KEEPCAPS, 1)
    try:
        if os.getgroups() != list(identity.groups):
            _set_groups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        if not in_user_namespace():
            raise
        raise InvalidError(
            f"user {identity.uid}, group {identity.gid} or one of its groups has no id in this "
            f"user namespace ({error.strerror}): more ids come from /etc/subuid and /etc/subgid"
        ) from None
    syscalls.prctl(_PR_SET_KEEPCAPS, 0)
    # The change of user made the process dumpable again by its own uid.
    syscalls.prctl(_PR_SET_DUMPABLE, 0)
    if umask is not None:
        os.umask(umask)


def _set_groups(groups: Sequence[int]) -> None:
    try:
        os.setgroups(list(groups))
    except PermissionError:
        # A user namespace made without privileges may not change its groups at all.
        if set(groups) - {os.getgid()}:
            raise


def drop_capabilities(
    process: Process, masks: CapabilityMasks | None, seccomp: bytes | None, seccomp_flags: int
) -> None:
    """Install the filter and take the final sets: the last calls before the program."""
    if process.no_new_privileges:
        syscalls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    full = os.getresuid()[1] == 0 or masks is None
    if masks is not None and not full:
        # After a change of user only the permitted set is left; the filter needs it effective.
        everything = held_capabilities()
        syscalls.capability_sets(everything, everything, 0)
    if seccomp is not None:
        syscalls.seccomp_install(seccomp, seccomp_flags)
    if masks is not None:
        permitted = masks.permitted & held_capabilities()
        syscalls.capability_sets(
            masks.effective & permitted, permitted, masks.inheritable & _all_known()
        )
        for number in range(_LAST_CAPABILITY + 1):
            if (masks.ambient & masks.inheritable & permitted) >> number & 1:
                syscalls.prctl(_PR_CAP_AMBIENT, 2, number)


def act_as(uid: int, gid: int) -> None:
    """Let this thread act on files as a user, without losing a right."""
    held = held_capabilities()
    syscalls.set_filesystem_ids(uid, gid)
    syscalls.capability_sets(held, held, 0)


def held_capabilities() -> int:
    """Return the capabilities that this thread is permitted, as a mask."""
    with open("/proc/thread-self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapPrm:"):
                return int(line.split()[1], 16)
    return 0


def _all_known() -> int:
    return (1 << (_LAST_CAPABILITY + 1)) - 1
