"""Making the tar of a layer out of a writable layer."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["write_layer"]

_OPAQUE: Final = ".wh..wh..opq"
_WHITEOUT: Final = ".wh."
_XATTR: Final = "SCHILY.xattr."
_OWN_XATTRS: Final = ("trusted.overlay.", "user.overlay.")


def write_layer(source: Path, out: BinaryIO, *, overlay: bool = True) -> None:
    """Write a tar of a directory; with `overlay` its whiteouts become those of a layer."""
    seen: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for folder, folders, files in os.walk(source):
            folders.sort()
            if overlay and _is_opaque(folder) and folder != str(source):
                _add_empty(tar, _relative(folder, source, _OPAQUE))
            for name in sorted([*folders, *files]):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
                if overlay and whiteout:
                    _add_empty(tar, _relative(folder, source, _WHITEOUT + name))
                elif not stat.S_ISSOCK(status.st_mode):
                    _add(tar, path, _relative(folder, source, name), status, seen)


def _relative(folder: str, source: Path, name: str) -> str:
    relative = os.path.relpath(folder, source)
    return name if relative == "." else f"{relative}/{name}"


def _is_opaque(folder: str) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _add_empty(tar: tarfile.TarFile, name: str) -> None:
    tar.addfile(tarfile.TarInfo(name))


def _add(
    tar: tarfile.TarFile,
    path: str,
    name: str,
    status: os.stat_result,
    seen: dict[tuple[int, int], str],
) -> None:
    member = tarfile.TarInfo(name)
    pax: dict[str, str] = {}
    member.pax_headers = pax
    member.mode = stat.S_IMODE(status.st_mode)
    member.uid, member.gid, member.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
    fraction = status.st_mtime_ns % 1_000_000_000
    if fraction:
        pax["mtime"] = f"{status.st_mtime_ns // 1_000_000_000}.{fraction:09d}"
    key = (status.st_dev, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif key in seen:
        member.type, member.linkname = tarfile.LNKTYPE, seen[key]
    elif stat.S_ISREG(status.st_mode):
        member.size = status.st_size
    elif stat.S_ISFIFO(status.st_mode):
        member.type = tarfile.FIFOTYPE
    else:
        member.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        seen.setdefault(key, name)
    for attribute in os.listxattr(path, follow_symlinks=False):
        if not attribute.startswith((*_OWN_XATTRS, "system.", "security.selinux")):
            value = os.getxattr(path, attribute, follow_symlinks=False)
            pax[_XATTR + attribute] = value.decode("utf-8", "surrogateescape")
    if member.isreg() and member.size:
        with open(path, "rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)
