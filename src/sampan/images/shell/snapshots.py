"""Layers unpacked once and shared, and the writable layer of each container, for overlayfs.

`layers/<chain id>/fs` holds one layer's own files; a chain's layers are stacked when mounted. The
directory appears by a rename when it is whole. A mount is a value: it is made in the mount
namespace of whoever uses it.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.base.errors import InvalidError, NotFoundError
from sampan.images.core.digest import split_digest
from sampan.images.core.image import chain_ids
from sampan.images.shell.content import ContentStore
from sampan.images.shell.layers import Form, LayerLimits, unpack_layer

__all__ = ["Change", "Snapshots", "Usage"]


@dataclass(frozen=True, slots=True)
class Change:
    """A path of the writable layer that differs: `kind` 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Disk space of a directory tree."""

    size_bytes: int
    inodes: int


class Snapshots:
    """The layers and writable layers below one directory."""

    def __init__(self, root: Path, limits: LayerLimits | None = None) -> None:
        self._layers = root / "layers"
        self._containers = root / "writable"
        self._limits = limits
        self._unpacking = threading.Lock()
        self._places = root / "places"
        _make_places(self._places)
        for folder in (self._layers, self._containers):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in folder.glob("*.new"):
                shutil.rmtree(leftover)

    def ensure(self, diff_ids: Sequence[str], blobs: Sequence[str], content: ContentStore) -> None:
        """Unpack those layers of a chain that are missing; blocks.

        Raises LayerError or LimitError for a layer that must not be unpacked, InvalidError when a
        blob is not the layer that the image names.
        """
        lower: list[Path] = []
        for chain, diff_id, blob in zip(chain_ids(diff_ids), diff_ids, blobs, strict=True):
            with self._unpacking:
                if not self._layer(chain).exists():
                    self._unpack(chain, diff_id, blob, content, lower[::-1])
            lower.append(self.layer_path(chain))

    def _unpack(
        self, chain: str, diff_id: str, blob: str, content: ContentStore, lower: Sequence[Path]
    ) -> None:
        temporary = self._layers / (chain.partition(":")[2] + ".new")
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "fs").mkdir(mode=0o755, parents=True)
        try:
            with content.open(blob) as file:
                found = unpack_layer(
                    file,
                    temporary / "fs",
                    Form(lower=lower),
                    self._limits,
                    algorithm=split_digest(blob)[0],
                )
            for expected, digest in ((blob, found.blob), (diff_id, found.diff_id)):
                if expected != digest:
                    raise InvalidError(f"layer digest mismatch: expected {expected}, got {digest}")
            (temporary / "size").write_text(str(found.size_bytes))
            os.rename(temporary, self._layers / chain.partition(":")[2])
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _layer(self, chain: str) -> Path:
        return self._layers / chain.partition(":")[2]

    def layer_path(self, chain: str) -> Path:
        """Where one layer's own files are."""
        return self._layer(chain) / "fs"

    def layer_size(self, chain: str) -> int:
        """Return the bytes of one layer's own files, 0 when it is not unpacked."""
        try:
            return int((self._layer(chain) / "size").read_text())
        except (OSError, ValueError):
            return 0

    def prepare(self, key: str) -> None:
        """Make a writable layer."""
        place = self._containers / key
        (place / "upper").mkdir(parents=True)
        (place / "upper").chmod(0o755)
        (place / "work").mkdir(mode=0o700)

    def mounts(self, key: str, diff_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what to mount for a container's root: the chain below its writable layer."""
        place = self._containers / key
        options = [
            f"lowerdir={':'.join(self._lower(diff_ids))}",
            f"upperdir={place / 'upper'}",
            f"workdir={place / 'work'}",
        ]
        return [{"type": "overlay", "source": "overlay", "options": options}]

    def read_only(self, key: str, diff_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what to mount to read a container's root, also while it is mounted elsewhere."""
        lower = [str(self._containers / key / "upper"), *self._lower(diff_ids)]
        options = [f"lowerdir={':'.join(lower)}", "ro"]
        return [{"type": "overlay", "source": "overlay", "options": options}]

    def _lower(self, diff_ids: Sequence[str]) -> list[str]:
        lower = [str(self._layer(chain) / "fs") for chain in reversed(chain_ids(diff_ids))]
        lower.append(str(self._places))
        missing = next((one for one in lower if not os.path.isdir(one)), None)
        if missing is not None:
            raise NotFoundError(f"layer {missing} is missing; pull or load the image again")
        return lower

    def upper(self, key: str) -> Path:
        """Where a container's own files are."""
        return self._containers / key / "upper"

    def changes(self, key: str, diff_ids: Sequence[str]) -> list[Change]:
        """Return what differs from the image, in order of the paths."""
        upper = self.upper(key)
        lower = [self._layer(chain) / "fs" for chain in reversed(chain_ids(diff_ids))]
        lower.append(self._places)
        found: list[Change] = []
        for folder, folders, files in os.walk(upper):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                inside = path.removeprefix(str(upper))
                status = os.lstat(path)
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                    found.append(Change(inside, 2))
                else:
                    found.append(Change(inside, 0 if _in_any(lower, inside) else 1))
        return sorted(found, key=lambda change: change.path)

    def usage(self, key: str) -> Usage:
        """Return what a container's own files take; blocks."""
        return tree_usage(self.upper(key))

    def remove(self, key: str) -> None:
        """Remove a writable layer; blocks."""
        place = self._containers / key
        gone = self._containers / (key + ".new")
        try:
            os.rename(place, gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone)

    def keys(self) -> list[str]:
        """Return the containers that have a writable layer."""
        return [path.name for path in self._containers.iterdir() if path.suffix != ".new"]

    def collect(self, keep: Collection[str]) -> int:
        """Remove every layer whose chain id is not kept; returns the bytes that came free."""
        kept = {chain.partition(":")[2] for chain in keep}
        freed = 0
        for path in list(self._layers.iterdir()):
            if path.name not in kept and path.suffix != ".new":
                freed += self.layer_size("sha256:" + path.name)
                gone = path.with_name(path.name + ".new")
                os.rename(path, gone)
                shutil.rmtree(gone)
        return freed


def _make_places(root: Path) -> None:
    """Make the lowest layer of all containers: places that something is always mounted on.

    So they do not show up among a container's own changes, and an image's own files win.
    """
    for name in ("dev/pts", "dev/shm", "dev/mqueue", "etc", "proc", "sys"):
        (root / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"):
        (root / name).touch(mode=0o644)
    mtab = root / "etc" / "mtab"
    if not mtab.is_symlink():
        mtab.symlink_to("/proc/mounts")
    root.chmod(0o755)


def _in_any(layers: Sequence[Path], inside: str) -> bool:
    """Tell whether the image has that path; an upper layer's whiteout hides those below."""
    for layer in layers:
        try:
            status = os.lstat(f"{layer}{inside}")
        except OSError:
            continue
        return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0)
    return False


def tree_usage(root: Path) -> Usage:
    """Add up a directory tree; a file with several names counts once."""
    size, seen = 0, set()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(folder, name))
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Usage(size, len(seen))
