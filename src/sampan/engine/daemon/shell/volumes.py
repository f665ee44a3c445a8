"""Named volumes of the local driver: a directory each, with its options and labels beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.daemon.core.filters import Filters
from sampan.engine.daemon.core.volume_options import check_volume_options
from sampan.engine.daemon.shell.recordfile import RecordFile
from sampan.engine.runtime.shell import syscalls
from sampan.images.shell.thread import in_thread

__all__ = ["Volumes"]

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ANONYMOUS: Final = "com.docker.volume.anonymous"


class Volumes:
    """The volumes below one directory."""

    def __init__(self, root: Path, on_event: Callable[[str, str, Mapping[str, str]], None]) -> None:
        root.mkdir(mode=0o701, parents=True, exist_ok=True)
        self._root = root
        self._on_event = on_event
        self._known: dict[str, dict[str, Any]] = {}
        for path in root.glob("*/volume.json"):
            self._known[path.parent.name] = json.loads(path.read_text())

    def create(
        self,
        name: str,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a volume, or find the one of that name; without a name it is anonymous."""
        if driver not in ("", "local"):
            shown = name or secrets.token_hex(32)
            raise NotFoundError(
                f"create {shown}: error looking up volume plugin {driver}: plugin "
                f'"{driver}" not found'
            )
        labels = dict(labels or {})
        if not name:
            name = secrets.token_hex(32)
            labels[_ANONYMOUS] = ""
        _check_name(name)
        check_volume_options(name, options or {})
        if name not in self._known:
            place = self._root / name
            volume = {
                "CreatedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Driver": "local",
                "Labels": labels or None,
                "Mountpoint": str(place / "_data"),
                "Name": name,
                "Options": None if options is None else dict(options),
                "Scope": "local",
            }
            _make_place(place, volume)
            self._known[name] = volume
            self._on_event("create", name, {"driver": "local"})
        return self._known[name]

    def has(self, name: str) -> bool:
        """Tell whether there is a volume of that name."""
        return name in self._known

    def get(self, name: str) -> dict[str, Any]:
        """Return one volume; NotFoundError as Docker's."""
        found = self._known.get(name)
        if found is None:
            raise NotFoundError(f"get {name}: no such volume")
        return found

    def list(self, filters: Filters, used: Callable[[str], bool]) -> Sequence[dict[str, Any]]:
        """Return the volumes that the filters mean."""
        filters.check(("dangling", "driver", "label", "name"))
        dangling = filters.flag("dangling")
        return [
            volume
            for name, volume in sorted(self._known.items())
            if filters.matches("name", name)
            and filters.exact("driver", "local")
            and filters.labels(volume["Labels"] or {})
            and (dangling is None or dangling != used(name))
        ]

    def remove(self, name: str, users: Sequence[str], *, force: bool) -> None:
        """Remove a volume; ConflictError while containers use it."""
        if name not in self._known:
            if force:
                return
            raise NotFoundError(f"get {name}: no such volume")
        if users:
            holders = "[" + ", ".join(users) + "]"
            raise ConflictError(f"remove {name}: volume is in use - {holders}")
        if os.path.ismount(self._root / name / "_data"):
            syscalls.umount2(str(self._root / name / "_data"), 2)
        shutil.rmtree(self._root / name)
        del self._known[name]
        self._on_event("destroy", name, {"driver": "local"})

    def is_anonymous(self, name: str) -> bool:
        """Tell whether nobody has given the volume its name."""
        return _ANONYMOUS in (self._known.get(name, {}).get("Labels") or {})

    async def prune(
        self, filters: Filters, used: Callable[[str], bool], *, named: bool = False
    ) -> tuple[Sequence[str], int]:
        """Remove unused volumes; returns which, and the bytes freed.

        Those that have a name only with the filter `all`, or when `named` says so.
        """
        filters.check(("label", "label!", "all"))
        everything = named or bool(filters.flag("all"))
        gone, freed = [], 0
        for name, volume in list(self._known.items()):
            chosen = everything or self.is_anonymous(name)
            labels = volume["Labels"] or {}
            left_out = filters.has("label!") and filters.labels(labels, "label!")
            if chosen and filters.labels(labels) and not left_out and not used(name):
                size = await in_thread(self.size, name)
                if name in self._known and not used(name):  # still
                    self.remove(name, (), force=True)
                    freed += size
                    gone.append(name)
        return gone, freed

    def size(self, name: str) -> int:
        """Return the bytes that a volume takes; blocks."""
        return _tree_bytes(self._root / name / "_data")


def _make_place(place: Path, volume: Mapping[str, Any]) -> None:
    """Make a volume's directory and its record; nothing stays when that fails."""
    try:
        (place / "_data").mkdir(parents=True, exist_ok=True)
        (place / "_data").chmod(0o755)
        RecordFile(place / "volume.json").put(json.dumps(volume).encode())
    except OSError:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _check_name(name: str) -> None:
    if len(name) > 255:
        raise InvalidError(f"create {name}: volume name is too long")
    if len(name) < 2:
        raise InvalidError(
            f"create {name}: volume name is too short, names should be at least two alphanumeric "
            "characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host '
            "directory, use absolute path"
        )


def _tree_bytes(root: Path) -> int:
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # its container may be at work
                status = os.lstat(os.path.join(folder, name))
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
