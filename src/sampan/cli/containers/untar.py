"""Unpacking what a container sends: nothing is written through a link of its making.

Every directory is opened from the one above it and never through a symbolic link, so that what
the container says about its files cannot lead out of the place they are copied to.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Iterator

from sampan.base.errors import SampanError

__all__ = ["unpack"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 18


def unpack(archive: tarfile.TarFile, target: str, contents: bool, owners: bool) -> None:
    """Unpack a stream whose first name is the root of what is copied.

    The root becomes `target`; with `contents` its members go into `target`, which is a directory.
    With `owners` user and group are those of the archive. Raises SampanError for a name that
    leads out of the place.
    """
    parent, name = os.path.split(os.path.abspath(target))
    base = os.open(os.path.realpath(parent), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    later: list[tuple[list[str], tarfile.TarInfo]] = []
    try:
        root: list[str] | None = None
        for member in archive:
            parts = _parts(member.name)
            if root is None:
                root = parts[:1]
            inside = [name, *_below(parts, root)]
            if contents and len(inside) == 1:
                continue
            link = [name, *_below(_parts(member.linkname), root)] if member.islnk() else []
            _place(base, inside, member, archive, link)
            if owners and not member.islnk():
                _chown(base, inside, member)
            if member.isdir():
                later.append((inside, member))
        for inside, member in reversed(later):
            _finish_directory(base, inside, member)
    finally:
        os.close(base)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SampanError(f"the archive has a name that leads out of it: {name!r}")
    return parts


def _below(parts: list[str], root: list[str]) -> list[str]:
    if parts[: len(root)] != root:
        raise SampanError(f"the archive has more than one root: {'/'.join(parts)!r}")
    return parts[len(root) :]


@contextlib.contextmanager
def _opened(base: int, parts: list[str]) -> Iterator[int]:
    """Give the directory that the parts name, each opened in the one before."""
    found = os.dup(base)
    try:
        for part in parts:
            below = os.open(part, _DIRECTORY, dir_fd=found)
            os.close(found)
            found = below
        yield found
    except NotADirectoryError:
        raise SampanError(f"{'/'.join(parts)} is not a directory") from None
    finally:
        os.close(found)


def _place(
    base: int, inside: list[str], member: tarfile.TarInfo, archive: tarfile.TarFile, link: list[str]
) -> None:
    *folders, name = inside
    with _opened(base, folders) as folder:
        if member.isdir():
            _make_directory(folder, name)
            return
        _clear(folder, name)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=folder)
        elif member.islnk():
            with _opened(base, link[:-1]) as source:
                os.link(link[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        elif member.isfifo():
            os.mkfifo(name, member.mode & 0o777, dir_fd=folder)
        elif member.isfile():
            _write(folder, name, member, archive)
        # Devices belong to the container's machine; here they would be somebody else's.


def _make_directory(folder: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        # A link that is there already is not followed by what comes next.
        os.close(os.open(name, _DIRECTORY, dir_fd=folder))


def _clear(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _write(folder: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    source = archive.extractfile(member)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        while source is not None and (data := source.read(_COPY_BYTES)):
            file.write(data)
        file.flush()
        os.fchmod(descriptor, member.mode & 0o7777)
        os.utime(descriptor, (member.mtime, member.mtime))


def _chown(base: int, inside: list[str], member: tarfile.TarInfo) -> None:
    with _opened(base, inside[:-1]) as folder, contextlib.suppress(PermissionError):
        os.chown(inside[-1], member.uid, member.gid, dir_fd=folder, follow_symlinks=False)


def _finish_directory(base: int, inside: list[str], member: tarfile.TarInfo) -> None:
    """Set what writing into a directory would have hindered or changed."""
    with _opened(base, inside) as folder:
        os.fchmod(folder, member.mode & 0o7777)
        os.utime(folder, (member.mtime, member.mtime))
