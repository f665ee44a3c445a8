"""Build contexts of clients, kept from build to build so that only changes travel.

A directory is one build's alone while it is used; a second build of the same gets a place of its
own, which goes afterwards. What is kept is bounded, and not trusted over a restart of the machine:
a file whose size and time are right may have lost its data in a power cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sampan.images.shell import nodes
from sampan.images.shell.thread import in_thread

__all__ = ["ContextPlaces", "KeptContext", "Place"]

_MOST: Final = 32
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory for a context, and one for files that are not whole yet."""

    files: Path
    parts: Path


@dataclass(frozen=True, slots=True)
class KeptContext:
    """A context that is kept: seconds since 1970 it was made and last used."""

    key: str
    used: bool
    size_bytes: int
    created_s: float
    used_s: float


class ContextPlaces:
    """The contexts below one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        boot = _BOOT.read_text().strip() if _BOOT.exists() else secrets.token_hex(8)
        for other in directory.iterdir():
            if other.name != boot:
                nodes.remove_path(other)
        self._directory = directory / boot
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._directory.glob("own-*"):
            nodes.remove_path(leftover)
        self._used: set[str] = set()

    @contextlib.asynccontextmanager
    async def place(self, *key: str) -> AsyncIterator[Place]:
        """Lend a place; the same one for the same key, unless it is lent already.

        A key without its first word is nobody's: its place goes afterwards.
        """
        name = hashlib.sha256("\0".join(key).encode()).hexdigest()
        kept = bool(key[0]) and name not in self._used
        if not kept:
            name = f"own-{secrets.token_hex(16)}"
        self._used.add(name)
        path = self._directory / name
        try:
            yield await in_thread(self._prepare, path)
        finally:
            await in_thread(nodes.remove_path, path / "parts" if kept else path)
            self._used.discard(name)
            idle = sorted(self._idle(), key=lambda one: one.stat().st_mtime)
            await self._remove(idle[: max(0, len(idle) - _MOST)])

    def _prepare(self, path: Path) -> Place:
        place = Place(path / "files", path / "parts")
        nodes.remove_path(place.parts)
        for one in (path, place.files, place.parts):
            one.mkdir(mode=0o700, exist_ok=True)
        place.files.chmod(0o755)
        return place

    async def _remove(self, paths: Sequence[Path]) -> None:
        """Remove places that are idle; they are nobody's from the first moment on."""
        moved = [self._directory / f"own-{secrets.token_hex(16)}" for _ in paths]
        self._used.update(one.name for one in moved)
        for path, target in zip(paths, moved, strict=True):
            path.rename(target)
        try:
            for target in moved:
                await in_thread(nodes.remove_path, target)
        finally:
            self._used.difference_update(one.name for one in moved)

    def _idle(self) -> list[Path]:
        return [one for one in self._directory.iterdir() if one.name not in self._used]

    async def listed(self) -> list[KeptContext]:
        """Return what is kept."""
        return await in_thread(self._listed)

    def _listed(self) -> list[KeptContext]:
        found = []
        for path in sorted(self._directory.iterdir()):
            with contextlib.suppress(OSError):
                status = path.stat()
                size = sum(one.lstat().st_size for one in path.rglob("*") if one.is_file())
                used = path.name in self._used
                made = status.st_mtime
                found.append(KeptContext(path.name, used, size, made, made))
        return found

    async def prune(self, older_than_s: float, keys: Collection[str]) -> list[KeptContext]:
        """Remove those of `keys` that nobody uses or has for so long; returns what went."""
        before = time.time() - older_than_s
        old = [one for one in await self.listed() if one.key in keys and one.used_s <= before]
        gone = [one for one in old if one.key not in self._used]
        await self._remove([self._directory / one.key for one in gone])
        return gone
