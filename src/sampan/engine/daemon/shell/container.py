"""One container in the running engine: its record, its shim, and who waits for what."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.engine.daemon.core.record import ContainerRecord
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

    @property
    def id(self) -> str:
        """Its id, 64 hex digits."""
        return self.record.id

    @property
    def log_path(self) -> Path:
        """Where its output is kept."""
        return self.directory / f"{self.id}-json.log"

    def save(self) -> None:
        """Put the record on disk: beside, flushed, then renamed. A crash of the engine or of the
        machine leaves the old record or the new one.
        """
        path = self.directory / "container.json"
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            file.write(json.dumps(self.record.document()).encode())
            os.fdatasync(fd)
        os.replace(temporary, path)

    def attributes(self) -> dict[str, str]:
        """What an event says about it."""
        record = self.record
        return {"image": record.image_name, "name": record.name, **record.labels}
