"""Mount options as words, and what they mean to the kernel's mount calls.

Source: OCI runtime specification 1.2, "mounts"; mount_setattr(2), fsconfig(2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sampan.base.record import record

__all__ = ["WORDS", "MountOptions", "parse_options"]

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
ATIME_MASK, RELATIME, NOATIME, STRICTATIME, NODIRATIME = 0x70, 0x0, 0x10, 0x20, 0x80
NOSYMFOLLOW: Final = 0x200000
UNBINDABLE, PRIVATE, SLAVE, SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

_SET: Final = {
    "ro": RDONLY,
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "nodiratime": NODIRATIME,
    "nosymfollow": NOSYMFOLLOW,
}
_CLEAR: Final = {
    "rw": RDONLY,
    "suid": NOSUID,
    "dev": NODEV,
    "exec": NOEXEC,
    "diratime": NODIRATIME,
    "symfollow": NOSYMFOLLOW,
}
_ATIME: Final = {
    "noatime": NOATIME,
    "relatime": RELATIME,
    "strictatime": STRICTATIME,
    "atime": RELATIME,
    "norelatime": RELATIME,
    "nostrictatime": RELATIME,
}
_PROPAGATION: Final = {
    "private": PRIVATE,
    "slave": SLAVE,
    "shared": SHARED,
    "unbindable": UNBINDABLE,
}
_SUPERBLOCK: Final = frozenset({"sync", "dirsync", "lazytime", "mand"})
_IGNORED: Final = frozenset(
    {"defaults", "async", "nolazytime", "nomand", "iversion", "noiversion", "silent", "loud"}
)
_ATTRIBUTES: Final = (*_SET, *_CLEAR, *_ATIME)
WORDS: Final = frozenset(
    {
        *_ATTRIBUTES,
        *(f"r{word}" for word in (*_ATTRIBUTES, *_PROPAGATION)),
        *_PROPAGATION,
        *_SUPERBLOCK,
        *_IGNORED,
        "bind",
        "rbind",
        "remount",
        "tmpcopyup",
    }
)
"""Every word that is not passed on to the file system."""


@record
class MountOptions:
    """Options of one mount. Attribute masks are MOUNT_ATTR_*, propagation MS_*."""

    bind: bool = False
    recursive: bool = False
    remount: bool = False
    set_: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    propagation_recursive: bool = False
    copy_up: bool = False
    idmap: str = ""
    """`idmap`, or `ridmap` with the mounts below: owners are shown through id maps."""

    namespace: str = ""
    """Of a bind: the mount namespace, a path, in which the source is looked up."""

    subpath: str = ""
    """The part of the file system that is shown, a path that cannot lead out of it."""

    superblock: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    @property
    def read_only(self) -> bool:
        """Tell whether nothing may be written."""
        return bool(self.set_ & RDONLY)


def parse_options(words: Iterable[str]) -> MountOptions:
    """Return what the words mean; those unknown are data for the file system."""
    set_ = clear = recursive_set = recursive_clear = propagation = 0
    bind = recursive = remount = copy_up = propagation_recursive = False
    namespace = idmap = subpath = ""
    superblock: list[str] = []
    data: list[str] = []
    for word in words:
        if word in _SET:
            set_, clear = set_ | _SET[word], clear & ~_SET[word]
        elif word in _CLEAR:
            set_, clear = set_ & ~_CLEAR[word], clear | _CLEAR[word]
        elif word in _ATIME:
            set_, clear = set_ & ~ATIME_MASK | _ATIME[word], clear | ATIME_MASK
        elif word[:1] == "r" and word[1:] in _PROPAGATION:
            propagation, propagation_recursive = _PROPAGATION[word[1:]], True
        elif word in _PROPAGATION:
            propagation, propagation_recursive = _PROPAGATION[word], False
        elif word[:1] == "r" and word[1:] in _SET:
            recursive_set |= _SET[word[1:]]
        elif word[:1] == "r" and word[1:] in _CLEAR:
            recursive_clear |= _CLEAR[word[1:]]
        elif word[:1] == "r" and word[1:] in _ATIME:
            recursive_set = recursive_set & ~ATIME_MASK | _ATIME[word[1:]]
            recursive_clear |= ATIME_MASK
        elif word in ("bind", "rbind"):
            bind, recursive = True, recursive or word == "rbind"
        elif word == "remount":
            remount = True
        elif word == "tmpcopyup":
            copy_up = True
        elif word.startswith("x-namespace="):
            namespace = word.partition("=")[2]
        elif word.startswith("x-subpath="):
            subpath = word.partition("=")[2]
        elif word in ("idmap", "ridmap"):
            idmap = word
        elif word in _SUPERBLOCK:
            superblock.append(word)
        elif word and word not in _IGNORED:
            data.append(word)
    return MountOptions(
        bind=bind,
        recursive=recursive,
        remount=remount,
        set_=set_,
        clear=clear,
        recursive_set=recursive_set,
        recursive_clear=recursive_clear,
        propagation=propagation,
        propagation_recursive=propagation_recursive,
        copy_up=copy_up,
        idmap=idmap,
        namespace=namespace,
        subpath=subpath,
        superblock=tuple(superblock),
        data=tuple(data),
    )
