"""Layers unpacked once and shared, and the writable layer of each container.

`layers/<chain id>` holds one layer, `writable/<key>` what a container has changed; a driver knows
in which form. A directory appears by a rename when it is whole, and goes by a rename first. A mount
is a value: it is made in the mount namespace of whoever uses it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sampan.base.errors import InvalidError
from sampan.images.core.digest import split_digest
from sampan.images.core.image import chain_ids
from sampan.images.shell import durable, nodes
from sampan.images.shell.content import Blobs
from sampan.images.shell.difference import Change, Usage
from sampan.images.shell.drivers.choice import choose_driver
from sampan.images.shell.drivers.driver import FILES
from sampan.images.shell.layers import LayerLimits, unpack_layer
from sampan.images.shell.packing import Output

__all__ = ["Change", "Snapshots", "Usage"]

_PLACES = ("dev/pts", "dev/shm", "dev/mqueue", "etc", "proc", "sys")
_PLACES_OF_FILES = ("dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")


class Snapshots:
    """The layers and writable layers below one directory."""

    def __init__(self, root: Path, limits: LayerLimits | None = None, driver: str = "") -> None:
        """`driver` is a storage driver by name; without one the directory's own, or what works.

        Raises ConflictError when the directory is used with another driver already.
        """
        self._layers = root / "layers"
        self._containers = root / "writable"
        self._limits = limits
        self._unpacking = threading.Lock()
        places = root / "places"
        _make_places(places)
        for folder in (self._layers, self._containers):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(self._layers.iterdir()) or any(self._containers.iterdir())
        self.driver = choose_driver(root, places, driver, used=used)
        self._sync = durable.Flusher(self._layers)
        for folder in (self._layers, self._containers):
            for leftover in folder.glob("*.new"):
                self.driver.remove(leftover)
        self.torn = self._sync.unflushed()
        """Layers that a power cut may have damaged: they are gone, and must be unpacked again."""
        for torn in self.torn:
            self.driver.remove(torn)

    def ensure(self, diff_ids: Sequence[str], blobs: Sequence[str], content: Blobs) -> None:
        """Unpack those layers of a chain that are missing; blocks.

        Raises LayerError or LimitError for a layer that must not be unpacked, InvalidError when a
        blob is not the layer that the image names.
        """
        lower: list[Path] = []
        made = False
        for chain, diff_id, blob in zip(chain_ids(diff_ids), diff_ids, blobs, strict=True):
            with self._unpacking:
                if not self._layer(chain).exists():
                    self._unpack(chain, diff_id, blob, content, lower[::-1])
                    made = True
            lower.append(self.layer_path(chain))
        if made:
            self._sync.flush_later()

    def _unpack(
        self, chain: str, diff_id: str, blob: str, content: Blobs, lower: Sequence[Path]
    ) -> None:
        temporary = self._layers / (chain.partition(":")[2] + ".new")
        self.driver.remove(temporary)
        try:
            form = self.driver.begin_layer(temporary, lower)
            algorithm = split_digest(blob)[0]
            with content.open(blob) as file:
                found = unpack_layer(
                    file, temporary / FILES, form, self._limits, algorithm=algorithm
                )
            for expected, digest in ((blob, found.blob), (diff_id, found.diff_id)):
                if expected != digest:
                    raise InvalidError(f"layer digest mismatch: expected {expected}, got {digest}")
            (temporary / "size").write_text(str(found.size_bytes))
            self._sync.begin(temporary)
            os.rename(temporary, self._layer(chain))
        except BaseException:
            self.driver.remove(temporary)
            raise

    def _layer(self, chain: str) -> Path:
        return self._layers / chain.partition(":")[2]

    def _lower(self, diff_ids: Sequence[str]) -> list[Path]:
        """Return the layers of a chain, the uppermost first."""
        return [self._layer(chain) / FILES for chain in reversed(chain_ids(diff_ids))]

    def layer_path(self, chain: str) -> Path:
        """Where one layer's files are."""
        return self._layer(chain) / FILES

    def layer_size(self, chain: str) -> int:
        """Return the bytes of one layer's own files, 0 when it is not unpacked."""
        try:
            return int((self._layer(chain) / "size").read_text())
        except (OSError, ValueError):
            return 0

    def files(self, diff_ids: Sequence[str]) -> list[Path]:
        """Return the directories in which all files of a chain are, the uppermost first."""
        return self.driver.files(self._lower(diff_ids))

    def prepare(self, key: str, diff_ids: Sequence[str] = ()) -> None:
        """Make a writable layer upon a chain; takes long when the driver is a slow one."""
        temporary = self._containers / (key + ".new")
        self.driver.remove(temporary)
        temporary.mkdir(mode=0o700)
        try:
            self.driver.prepare(temporary, self._lower(diff_ids))
            os.rename(temporary, self._containers / key)
        except BaseException:
            self.driver.remove(temporary)
            raise

    def mounts(self, key: str, diff_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what to mount for a container's root: the chain below its writable layer."""
        return self.driver.mounts(self._containers / key, self._lower(diff_ids))

    def read_only(self, key: str, diff_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what to mount to read a container's root, also while it is mounted elsewhere."""
        place = self._containers / key
        return self.driver.mounts(place, self._lower(diff_ids), read_only=True)

    def upper(self, key: str) -> Path:
        """Where a container's own files are; all of its files when the driver merges layers."""
        return self.driver.own_files(self._containers / key)

    def changes(self, key: str, diff_ids: Sequence[str]) -> list[Change]:
        """Return what differs from the image, in order of the paths; blocks."""
        return self.driver.changes(self._containers / key, self._lower(diff_ids))

    def write_layer(self, key: str, diff_ids: Sequence[str], out: Output) -> None:
        """Write what differs from the image as the tar of a further layer; blocks."""
        self.driver.write_layer(self._containers / key, self._lower(diff_ids), out)

    def adopt(self, key: str, diff_ids: Sequence[str], diff_id: str) -> None:
        """Make a writable layer the next layer of a chain; `write_layer` has told its digest.

        Where the driver cannot, the layer is left to `ensure`. The writable layer is gone after it.
        """
        place = self._containers / key
        chain = chain_ids([*diff_ids, diff_id])[-1]
        temporary = self._layers / (chain.partition(":")[2] + ".new")
        with self._unpacking:
            if not self._layer(chain).exists():
                self.driver.remove(temporary)
                temporary.mkdir(mode=0o700)
                size = self.driver.usage(place, self._lower(diff_ids)).size_bytes
                if self.driver.adopt(place, temporary):
                    (temporary / "size").write_text(str(size))
                    self._sync.begin(temporary)
                    os.rename(temporary, self._layer(chain))
                    self._sync.flush_later()
                else:
                    self.driver.remove(temporary)
        self._take_away(place)

    def usage(self, key: str, diff_ids: Sequence[str] = ()) -> Usage:
        """Return what a container's own files take; blocks."""
        return self.driver.usage(self._containers / key, self._lower(diff_ids))

    def graph(self, diff_ids: Sequence[str], key: str = "") -> dict[str, Any]:
        """Return the GraphDriver of `inspect`, of a container with a key or of an image."""
        place = self._containers / key if key else None
        return {"Name": self.driver.name, "Data": self.driver.data(place, self._lower(diff_ids))}

    def remove(self, key: str) -> None:
        """Remove a writable layer; blocks."""
        self._take_away(self._containers / key)

    def _take_away(self, place: Path) -> None:
        gone = place.with_name(place.name + ".new")
        try:
            os.rename(place, gone)
        except FileNotFoundError:
            return
        self.driver.remove(gone)

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
                self._take_away(path)
        return freed


def _make_places(root: Path) -> None:
    """Make the lowest layer of all containers: places that something is always mounted on.

    So they do not show up among a container's own changes, and an image's own files win.
    """
    for name in _PLACES:
        (root / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in _PLACES_OF_FILES:
        (root / name).touch(mode=0o644)
    # By this many a script knows that it is in a container.
    (root / ".dockerenv").touch(mode=0o755)
    (root / ".dockerenv").chmod(0o755)
    mtab = root / "etc" / "mtab"
    if not mtab.is_symlink():
        nodes.remove_path(mtab)
        mtab.symlink_to("/proc/mounts")
    root.chmod(0o755)
