"""Paths inside a container's root, resolved so that no link of the image leads out of it.

Every resolution goes through openat2 with RESOLVE_IN_ROOT: `..` and absolute links end at the root,
and magic links of procfs are not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from sampan.base.errors import InvalidError
from sampan.engine.runtime.shell import syscalls

__all__ = ["make_directory", "make_file", "open_path"]

_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
_RESOLVE: Final = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
_PARTS_LIMIT: Final = 256
_LINKS_LIMIT: Final = 40


def open_path(root_fd: int, path: str, flags: int = os.O_PATH) -> int:
    """Open a path below the root; raises OSError as open(2)."""
    return syscalls.openat2(root_fd, path.lstrip("/") or ".", flags, 0, _RESOLVE)


def make_directory(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Open a directory below the root, made with its parents where it is missing."""
    return _walk(root_fd, _parts(path), mode)


def make_file(root_fd: int, path: str) -> int:
    """Open a file below the root as a place to mount on, made empty where it is missing."""
    try:
        return open_path(root_fd, path)
    except FileNotFoundError:
        pass
    parts = _physical(root_fd, _parts(path))
    if not parts:
        raise InvalidError(f"{path}: leads to the root")
    parent = _make(root_fd, parts[:-1], 0o755)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(parts[-1], flags, 0o644, dir_fd=parent))
    finally:
        os.close(parent)
    return open_path(root_fd, "/".join(parts))


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > _PARTS_LIMIT:
        raise InvalidError(f"mount destination {path!r} is not a plain absolute path")
    return parts


def _walk(root_fd: int, parts: list[str], mode: int) -> int:
    """Open what is there at once, else make what is missing step by step."""
    try:
        found = open_path(root_fd, "/".join(parts) or ".")
    except FileNotFoundError:
        return _directory(_make(root_fd, _physical(root_fd, parts), mode), parts)
    return _directory(found, parts)


def _physical(root_fd: int, parts: list[str]) -> list[str]:
    """Return the path without links, also of links whose target is missing: it is to be made."""
    todo, done, links = parts[::-1], list[str](), 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        try:
            fd = open_path(root_fd, "/".join(done), os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                links += 1
                if links > _LINKS_LIMIT:
                    raise OSError(errno.ELOOP, f"/{'/'.join(parts)}: too many links")
                target = os.readlink("", dir_fd=fd)
                done = [] if target.startswith("/") else done[:-1]
                todo += target.split("/")[::-1]
        finally:
            os.close(fd)
    return done


def _make(root_fd: int, parts: list[str], mode: int) -> int:
    """Open a directory by a path without links, made where it is missing."""
    at = os.dup(root_fd)
    try:
        for depth, part in enumerate(parts, 1):
            try:
                below = open_path(root_fd, "/".join(parts[:depth]))
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=at)
                below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
    except BaseException:
        os.close(at)
        raise
    return at


def _directory(fd: int, parts: list[str]) -> int:
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    path = "/" + "/".join(parts)
    raise NotADirectoryError(errno.ENOTDIR, f"{path}: not a directory")
