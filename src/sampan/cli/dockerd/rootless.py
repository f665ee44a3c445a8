"""Starting without root: the daemon becomes root in a user namespace of its own.

With ranges in /etc/subuid and /etc/subgid and the programs newuidmap and newgidmap (package uidmap)
the namespace has many ids, as images want them; without, it has one, the user's own. The mounts are
in a namespace that goes with the daemon. Everything else stays the host's.
"""

from __future__ import annotations

import logging
import os
import pwd
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError, SampanError
from sampan.engine.daemon.core.options import EngineOptions
from sampan.engine.daemon.core.subordinate import ranges_of
from sampan.engine.runtime.core.plan import CLONE_FLAGS
from sampan.engine.runtime.core.spec import IdMap
from sampan.engine.runtime.shell import idmap, syscalls

__all__ = ["become_root_in_namespace", "rootless_options"]

_LOG: Final = logging.getLogger("sampan.dockerd")
_REC_SLAVE: Final = 0x4000 | 1 << 19
_SUBUID, _SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


def rootless_options(options: EngineOptions) -> EngineOptions:
    """Return what the engine is to do without root; InvalidError for what cannot be had."""
    if options.userns_remap:
        raise InvalidError("--userns-remap needs root: without it, the daemon is remapped itself")
    network = replace(options.network, bridge="none", iptables=False, ip6tables=False)
    return replace(options, rootless=True, network=network)


def become_root_in_namespace() -> None:
    """Enter new user and mount namespaces and be root there; SampanError with the reason.

    The process must have one thread.
    """
    uid, gid = os.getuid(), os.getgid()
    uid_maps, gid_maps = _maps(uid, _SUBUID), _maps(gid, _SUBGID)
    helped = len(uid_maps) > 1 and len(gid_maps) > 1
    if not helped:
        uid_maps, gid_maps = [IdMap(0, uid, 1)], [IdMap(0, gid, 1)]
    try:
        if helped:
            _unshare_with_help(uid_maps, gid_maps)
        else:
            syscalls.unshare(CLONE_FLAGS["user"] | CLONE_FLAGS["mount"])
            idmap.write_own(uid_maps, gid_maps)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.mount(None, "/", None, _REC_SLAVE)
    except OSError as error:
        raise SampanError(
            f"dockerd needs root, or a kernel that lets users make user namespaces: {error}"
        ) from error
    _LOG.warning("running without root: no limits (cgroups are the host's), no bridge networks")
    if not helped:
        _LOG.warning(
            "only one user and group in containers: for more, install newuidmap and newgidmap "
            "(package uidmap) and give the user ranges in /etc/subuid and /etc/subgid"
        )


def _maps(own: int, path: Path) -> list[IdMap]:
    """Return the maps of the user's own id and of the ranges that a file gives."""
    maps = [IdMap(0, own, 1)]
    if not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        return maps
    try:
        names = [pwd.getpwuid(os.getuid()).pw_name, str(os.getuid())]
        text = path.read_text()
    except (KeyError, OSError):
        return maps
    first = 1
    for start, count in ranges_of(text, names):
        maps.append(IdMap(first, start, count))
        first += count
    return maps


def _unshare_with_help(uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap]) -> None:
    """Enter the namespaces while a child that stays outside has the maps written."""
    pid = os.getpid()
    entered, tell = os.pipe()
    helper = os.fork()
    if helper == 0:
        code = 1
        try:
            os.close(tell)
            if os.read(entered, 1):
                idmap.write(pid, uid_maps, gid_maps)
                code = 0
        except BaseException as error:
            _LOG.error("%s", error)
        finally:
            os._exit(code)
    os.close(entered)
    try:
        syscalls.unshare(CLONE_FLAGS["user"] | CLONE_FLAGS["mount"])
        os.write(tell, b"x")
    finally:
        os.close(tell)
        _, status = os.waitpid(helper, 0)
    if status:
        raise SampanError("the id maps of the daemon's user namespace could not be written")
