"""Results of steps by their keys, kept from build to build.

A result is a chain of layers. It is a file of its own, written beside and renamed; one that cannot
be read, or whose layers are gone, is a miss and nothing worse.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["BuildCache", "CacheRecord", "Root"]

_RENEW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system: its layers as diff ids and blobs, lowest first.

    `host` tells that the machine's own root is below them all.
    """

    diff_ids: Sequence[str] = ()
    blobs: Sequence[str] = ()
    host: bool = False
    made_s: float = field(default=0.0, compare=False)
    """When its newest layer was made, seconds since 1970; 0 for a base as it came."""


@dataclass(frozen=True, slots=True)
class CacheRecord:
    """One result, as listed: `used_s` is when it was last of use, seconds since 1970."""

    key: str
    root: Root
    description: str
    created_s: float
    used_s: float


class BuildCache:
    """The results below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in directory.glob("*.new"):
            leftover.unlink()

    def find(self, key: str) -> Root | None:
        """Return the result of a key, None when it is not known."""
        path = self._directory / key
        record = self._read(path)
        if record is None:
            return None
        if time.time() - record.used_s > _RENEW_S:
            with contextlib.suppress(OSError):
                os.utime(path)
        return record.root

    def put(self, key: str, root: Root, description: str) -> None:
        """Keep a result."""
        document = {
            "diff_ids": list(root.diff_ids),
            "blobs": list(root.blobs),
            "host": root.host,
            "description": description[:500],
            "created": root.made_s,
        }
        temporary = self._directory / f"{key}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            file.write(json.dumps(document).encode())
        os.replace(temporary, self._directory / key)

    def drop(self, key: str) -> None:
        """Forget a result."""
        (self._directory / key).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[CacheRecord]:
        for path in sorted(self._directory.iterdir()):
            record = self._read(path) if path.suffix != ".new" else None
            if record is not None:
                yield record

    def _read(self, path: Path) -> CacheRecord | None:
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
            made_s = float(found["created"])
            root = Root(
                tuple(found["diff_ids"]), tuple(found["blobs"]), bool(found["host"]), made_s
            )
            used = path.stat().st_mtime
            return CacheRecord(path.name, root, found["description"], made_s, used)
        except (OSError, ValueError, KeyError, TypeError):
            return None
