"""Security contexts of CRI: who the processes are, what they may do, what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.engine.cri.pb.security_pb2 import (
    IDMapping,
    NamespaceMode,
    NamespaceOption,
    SecurityProfile,
    SELinuxOption,
    SupplementalGroupsPolicy,
)
from sampan.engine.runtime.core.capability import ALL, normalise, tweak

__all__ = [
    "UNCONFINED",
    "Machine",
    "Profile",
    "capability_sets",
    "check_labels",
    "id_ranges",
    "inside_id",
    "seccomp_profile",
    "user_section",
]


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has of the things that a pod may ask for."""

    apparmor: bool = False
    selinux: bool = False
    cgroup_version: int = 1
    lowest_oom_score_adj: int = -1000
    """The lowest that this daemon may give; without CAP_SYS_RESOURCE its own."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A seccomp profile: the runtime's, none at all, or a file of the node's."""

    kind: str
    path: str = ""


UNCONFINED: Final = Profile("unconfined")
_DEFAULT: Final = Profile("default")
_MOST_IDS: Final = (1 << 32) - 1
_OVERFLOW_ID: Final = 65534
_ROOT: Final = ("", "0", "root")


def seccomp_profile(given: SecurityProfile | None, old: str, *, privileged: bool) -> Profile:
    """Return the profile that is meant; the runtime's own when nothing is said.

    `old` is the deprecated `seccomp_profile_path`.
    """
    if privileged:
        return UNCONFINED
    if given is not None:
        if given.profile_type == SecurityProfile.Unconfined:
            return UNCONFINED
        if given.profile_type == SecurityProfile.RuntimeDefault:
            return _DEFAULT
        return _localhost(given.localhost_ref)
    if old in ("", "runtime/default", "docker/default"):
        return _DEFAULT
    if old == "unconfined":
        return UNCONFINED
    if old.startswith("localhost/"):
        return _localhost(old.removeprefix("localhost/"))
    raise InvalidError(f"invalid seccomp profile {old!r}")


def _localhost(path: str) -> Profile:
    path = path.removeprefix("localhost/")
    if not path.startswith("/"):
        raise InvalidError(f"seccomp: localhost_ref {path!r} is not an absolute path")
    return Profile("localhost", path)


def check_labels(
    machine: Machine, selinux: SELinuxOption | None, apparmor: SecurityProfile | None, old: str
) -> None:
    """Refuse labels and profiles of security modules that are not there, or not supported yet."""
    if selinux is not None and (selinux.user or selinux.role or selinux.type or selinux.level):
        if machine.selinux:
            raise UnsupportedError("SELinux labels are not supported yet")
        raise InvalidError("selinux_options: this machine's kernel has no SELinux")
    local = old.startswith("localhost/")
    if apparmor is not None:
        local = apparmor.profile_type == SecurityProfile.Localhost
    if local:
        if machine.apparmor:
            raise UnsupportedError("AppArmor profiles are not supported yet")
        raise InvalidError("apparmor: this machine's kernel has no AppArmor")


def id_ranges(options: NamespaceOption) -> dict[str, list[list[int]]] | None:
    """Return the maps of a pod's user namespace, `uids` and `gids` as [first on the host, count].

    None for the node's own. Raises InvalidError for maps with gaps or without root, and for a pod
    that shares another namespace with the node.
    """
    given = options.userns_options
    if not options.HasField("userns_options") or given.mode == NamespaceMode.NODE:
        return None
    if given.mode != NamespaceMode.POD:
        raise InvalidError("userns_options: the mode is POD or NODE")
    if NamespaceMode.NODE in (options.network, options.pid, options.ipc):
        raise InvalidError("a pod with a user namespace cannot share the node's other namespaces")
    return {"uids": _ranges(given.uids, "uids"), "gids": _ranges(given.gids, "gids")}


def _ranges(mappings: Sequence[IDMapping], name: str) -> list[list[int]]:
    found: list[list[int]] = []
    following = 0
    for one in sorted(mappings, key=lambda mapping: mapping.container_id):
        if one.container_id != following or not one.length:
            raise InvalidError(f"userns_options.{name}: ids from 0 on without gaps are needed")
        if one.host_id + one.length > _MOST_IDS:
            raise InvalidError(f"userns_options.{name}: there are no such ids on the node")
        following += one.length
        found.append([one.host_id, one.length])
    if not found:
        raise InvalidError(f"userns_options.{name}: mappings are needed")
    return found


def inside_id(ranges: Sequence[Sequence[int]], host_id: int) -> int:
    """Return the container's id of an id of the node's; the overflow id for one not mapped."""
    first = 0
    for start, count in ranges:
        if start <= host_id < start + count:
            return first + host_id - start
        first += count
    return _OVERFLOW_ID


def capability_sets(
    user: str,
    add: Sequence[str],
    drop: Sequence[str],
    ambient: Sequence[str],
    *,
    privileged: bool,
) -> dict[str, list[str]]:
    """Return the five sets of a process; InvalidError for an unknown name.

    A process that is not root has only the ambient ones at once; the others bound what it may get.
    """
    names = list(tweak(add, drop, privileged=privileged))
    raised = {normalise(name) for name in ambient}
    kept = list(ALL) if "ALL" in raised else [name for name in ALL if name in raised]
    bounding = [name for name in ALL if name in names or name in kept]
    held = bounding if user.partition(":")[0] in _ROOT else kept
    return {
        "bounding": bounding,
        "effective": held,
        "permitted": held,
        "inheritable": kept,
        "ambient": kept,
    }


def user_section(
    user: str, groups: Sequence[int], policy: SupplementalGroupsPolicy
) -> dict[str, Any]:
    """Return the `user` section: `user` is a name or number with or without a group."""
    for number in groups:
        if number < 0:
            raise InvalidError(f"supplemental_groups: {number} is no group")
    if policy not in (SupplementalGroupsPolicy.Merge, SupplementalGroupsPolicy.Strict):
        raise InvalidError(f"unsupported supplemental groups policy {policy}")
    strict = policy == SupplementalGroupsPolicy.Strict
    return {
        "username": user or "0",
        "additionalGids": list(groups),
        "x-memberships": "strict" if strict else "merge",
    }
