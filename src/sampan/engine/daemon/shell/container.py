"""One container in the running engine: its record, its shim, and who waits for what."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.engine.daemon.core.record import ContainerRecord
from sampan.engine.daemon.shell.recordfile import RecordFile
from sampan.engine.process.shim import ShimHandle

__all__ = ["Container", "ExecSession"]


@dataclass(slots=True)
class ExecSession:
    """A command run by `exec`; it is remembered until its container goes."""

    id: str
    container_id: str
    config: dict[str, Any]
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    started: bool = False

    @property
    def ended(self) -> bool:
        """Tell whether it has run."""
        return self.started and not self.running


@dataclass(slots=True, eq=False)
class Container:
    """A record and what belongs to it while the engine runs."""

    record: ContainerRecord
    directory: Path
    run_directory: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    shim: ShimHandle | None = None
    waiting_clients: list[tuple[socket.socket, dict[str, bool]]] = field(default_factory=list)
    execs: dict[str, ExecSession] = field(default_factory=dict)
    ended: set[asyncio.Future[int]] = field(default_factory=set)
    removed: asyncio.Event = field(default_factory=asyncio.Event)
    restart: asyncio.Task[None] | None = None
    restarts_in_row: int = 0
    watcher: asyncio.Task[None] | None = None
    health: asyncio.Task[None] | None = None
    network: dict[str, Any] = field(default_factory=dict)
    _file: RecordFile | None = None

    @property
    def id(self) -> str:
        """Its id, 64 hex digits."""
        return self.record.id

    @property
    def log_path(self) -> Path:
        """Where its output is kept."""
        return self.directory / f"{self.id}-json.log"

    @property
    def file(self) -> RecordFile:
        """Where the record is kept."""
        if self._file is None:
            self._file = RecordFile(self.directory / "container.json")
        return self._file

    def save(self) -> None:
        """Put the record on disk; it is there when this returns."""
        self.file.put(json.dumps(self.record.document()).encode())

    def save_soon(self) -> None:
        """Put the record on disk without a wait: for what the shim knows too."""
        self.file.put_soon(json.dumps(self.record.document()).encode())

    def attributes(self) -> dict[str, str]:
        """What an event says about it."""
        record = self.record
        return {"image": record.image_name, "name": record.name, **record.labels}
