"""Layers on disk: unpacking a tar as one layer of an overlay, and making a tar of one again.

An image comes from strangers. Its entries are placed by directory descriptors, resolved with
RESOLVE_IN_ROOT semantics by refusing every link on the way; what would lead out, or grows beyond
its bounds, is refused with a LayerError and nothing of the layer stays.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

import zstandard
from isal import igzip

from sampan.base.errors import InvalidError, LimitError

__all__ = ["LayerError", "LayerLimits", "apply_layer", "open_layer", "write_layer"]

_OPAQUE: Final = ".wh..wh..opq"
_WHITEOUT: Final = ".wh."
_COPY_BYTES: Final = 1 << 20
_XATTR: Final = "SCHILY.xattr."
_OWN_XATTRS: Final = ("trusted.overlay.", "user.overlay.")


class LayerError(InvalidError):
    """A layer that must not be unpacked; the message names the entry."""


@dataclass(frozen=True, slots=True)
class LayerLimits:
    """Bounds of what a layer may unfold to."""

    size_bytes: int = 64 << 30
    entries: int = 2_000_000
    ratio: int = 1_000
    ratio_from_bytes: int = 256 << 20


class _Counted(io.RawIOBase):
    """Counts and hashes what is read through it."""

    def __init__(self, inner: IO[bytes], check: Callable[[int], None] | None = None) -> None:
        self._inner = inner
        self._check = check
        self.hash = hashlib.sha256()
        self.size_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self.hash.update(data)
        self.size_bytes += len(data)
        if self._check is not None:
            self._check(self.size_bytes)
        return data

    @property
    def digest(self) -> str:
        return "sha256:" + self.hash.hexdigest()


def open_layer(file: BinaryIO) -> IO[bytes]:
    """Return a reader of the plain tar in a layer: gzip, zstd or nothing around it."""
    magic = file.read(4)
    file.seek(-len(magic), os.SEEK_CUR)
    if magic[:2] == b"\x1f\x8b":
        return cast(IO[bytes], igzip.GzipFile(fileobj=file))
    if magic == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            file, read_across_frames=True
        )
    return file


def apply_layer(
    file: BinaryIO, target: Path, limits: LayerLimits | None = None, *, devices: bool = True
) -> str:
    """Unpack a layer into an empty directory in the form that overlayfs reads.

    Returns the diff id: the digest of the plain tar. Raises LayerError or LimitError; the caller
    removes the directory then.
    """
    limits = limits or LayerLimits()
    compressed_bytes = os.fstat(file.fileno()).st_size if hasattr(file, "fileno") else 0

    def check(size: int) -> None:
        if size > limits.size_bytes:
            raise LimitError(f"layer unfolds beyond {limits.size_bytes} bytes")
        if size > limits.ratio_from_bytes and size > compressed_bytes * limits.ratio > 0:
            raise LimitError(f"layer unfolds to more than {limits.ratio} times its size")

    plain = _Counted(open_layer(file), check)
    unpacker = _Unpacker(target, devices=devices)
    try:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 18) as tar:
            for count, member in enumerate(tar):
                if count > limits.entries:
                    raise LimitError(f"layer has more than {limits.entries} entries")
                unpacker.place(tar, member)
        unpacker.finish()
        while plain.read(_COPY_BYTES):
            pass
    except (tarfile.TarError, gzip.BadGzipFile, zstandard.ZstdError, EOFError) as error:
        raise LayerError(f"layer cannot be read: {error}") from error
    finally:
        unpacker.close()
    return plain.digest


class _Unpacker:
    def __init__(self, target: Path, *, devices: bool) -> None:
        self._root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._devices = devices
        self._folders: dict[str, int] = {"": self._root}
        self._times: dict[str, tarfile.TarInfo] = {}

    def close(self) -> None:
        for fd in self._folders.values():
            os.close(fd)

    def place(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Put one entry where it belongs."""
        parts = _parts(member.name)
        if not parts:
            self._own(self._root, ".", member, parts)
            return
        parent, name = self._folder(parts[:-1]), parts[-1]
        if name == _OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", "trusted.overlay.opaque", b"y")
            return
        if name.startswith(_WHITEOUT):
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise LayerError(f"{member.name}: a whiteout of nothing")
            self._replace(parent, hidden)
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
            return
        if not member.isdir():
            self._forget(parts)
            self._replace(parent, name)
        self._make(tar, member, parent, name, parts)

    def _make(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        parent: int,
        name: str,
        parts: list[str],
    ) -> None:
        if member.isdir():
            self._make_folder(parent, name, parts)
        elif member.isreg():
            self._write(tar, member, parent, name)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            self._link(member, parent, name)
            return
        elif member.isfifo():
            os.mkfifo(name, dir_fd=parent)
        elif member.ischr() or member.isblk():
            if not self._devices:
                raise LayerError(f"{member.name}: device nodes are not allowed here")
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            number = os.makedev(member.devmajor, member.devminor)
            if kind == stat.S_IFCHR and number == 0:
                raise LayerError(f"{member.name}: a device that overlayfs takes for a whiteout")
            os.mknod(name, kind, number, dir_fd=parent)
        else:
            raise LayerError(f"{member.name}: unknown kind of entry {member.type!r}")
        self._own(parent, name, member, parts)

    def _folder(self, parts: list[str]) -> int:
        """Open a directory, made where it is missing; a link on the way is refused."""
        path = "/".join(parts)
        found = self._folders.get(path)
        if found is not None:
            return found
        parent = self._folder(parts[:-1])
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(parts[-1], flags, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(parts[-1], 0o755, dir_fd=parent)
            fd = os.open(parts[-1], flags, dir_fd=parent)
        except OSError as error:
            raise LayerError(f"{path}: a link or file is in the way of a directory") from error
        if len(self._folders) > 512:
            self._shrink()
        self._folders[path] = fd
        return fd

    def _shrink(self) -> None:
        for path in [one for one in self._folders if one][:256]:
            os.close(self._folders.pop(path))

    def _forget(self, parts: list[str]) -> None:
        """Drop cached directories at and below a path that is about to become something else."""
        path = "/".join(parts)
        for known in [one for one in self._folders if one == path or one.startswith(path + "/")]:
            os.close(self._folders.pop(known))

    def _make_folder(self, parent: int, name: str, parts: list[str]) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                return
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o755, dir_fd=parent)

    def _replace(self, parent: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            _remove_tree(parent, name)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            source = tar.extractfile(member)
            assert source is not None
            if member.sparse is not None:
                _copy_sparse(source, member, fd)
            else:
                while data := source.read(_COPY_BYTES):
                    os.write(fd, data)
        finally:
            os.close(fd)

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        parts = _parts(member.linkname)
        if not parts:
            raise LayerError(f"{member.name}: a hard link to the root")
        source = self._folder(parts[:-1])
        try:
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            raise LayerError(f"{member.name}: hard link to {member.linkname}: {error}") from error

    def _own(self, parent: int, name: str, member: tarfile.TarInfo, parts: list[str]) -> None:
        """Set owner, extended attributes, mode and times."""
        if os.geteuid() == 0:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if not member.issym():
            os.chmod(name, member.mode & 0o7777, dir_fd=parent)
            for key, value in member.pax_headers.items():
                if key.startswith(_XATTR):
                    self._set_xattr(parent, name, key.removeprefix(_XATTR), value)
        if member.isdir():
            self._times["/".join(parts)] = member
        else:
            _set_times(parent, name, member)

    def _set_xattr(self, parent: int, name: str, key: str, value: str) -> None:
        if key.startswith(_OWN_XATTRS):
            raise LayerError(f"{name}: extended attribute {key} is overlayfs's own")
        data = value.encode("utf-8", "surrogateescape")
        try:
            os.setxattr(f"/proc/self/fd/{parent}/{name}", key, data, follow_symlinks=False)
        except OSError:
            if key == "security.capability":
                raise

    def finish(self) -> None:
        """Set the times of directories, which every entry below has changed."""
        for path, member in sorted(self._times.items(), reverse=True):
            parts = _parts(path)
            if not parts:
                _set_times(self._root, ".", member)
            else:
                _set_times(self._folder(parts[:-1]), parts[-1], member)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise LayerError(f"{name}: leads out of the layer")
    return parts


def _set_times(parent: int, name: str, member: tarfile.TarInfo) -> None:
    try:
        # As text where there is one: a float would lose the last digits.
        text = member.pax_headers.get("mtime")
        time_ns = int(Decimal(text or member.mtime) * 1_000_000_000)
        os.utime(name, ns=(time_ns, time_ns), dir_fd=parent, follow_symlinks=False)
    except (ArithmeticError, ValueError, FileNotFoundError):
        return


def _copy_sparse(source: IO[bytes], member: tarfile.TarInfo, fd: int) -> None:
    os.ftruncate(fd, member.size)
    while data := source.read(_COPY_BYTES):
        if data.count(0) == len(data):
            os.lseek(fd, len(data), os.SEEK_CUR)
        else:
            os.write(fd, data)


def _remove_tree(parent: int, name: str) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for entry in os.scandir(fd):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(fd, entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


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
