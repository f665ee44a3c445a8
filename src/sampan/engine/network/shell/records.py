"""Records of networks and sandboxes on disk: one file each, whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Records"]

_LOG = logging.getLogger(__name__)


class Records:
    """A directory of JSON documents by name. `durable` ones survive the machine's crash."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self._directory = directory
        self._durable = durable

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        """Keep a document, instead of the one before."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(name)
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(document, file)
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        self._sync()

    def remove(self, name: str) -> None:
        """Forget a document; no harm when there is none."""
        self._path(name).unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        if self._durable:
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield names and documents; what cannot be read is told to the log and left."""
        if not self._directory.is_dir():
            return
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield path.stem, json.loads(path.read_text())
            except ValueError as error:
                _LOG.warning("%s cannot be read: %s", path, error)
