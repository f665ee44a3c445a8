"""Where the merged log goes: a bounded file in the state directory, and the terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TextIO

from sampan.up.core.lines import prefixed

__all__ = ["Output"]

_MAX_FILE_BYTES: Final = 8 << 20


class Output:
    """Writes each line to the file, and to `terminal` if there is one."""

    def __init__(self, path: Path, terminal: TextIO | None) -> None:
        self._path = path
        self._terminal = terminal
        self._colour = terminal is not None and terminal.isatty() and "NO_COLOR" not in os.environ
        self._file = self._open()

    def _open(self) -> TextIO:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return open(fd, "a", encoding="utf-8", buffering=1)

    def say(self, service: str, text: str) -> None:
        """Write one line of a service, or of the supervisor itself (`up`)."""
        if self._file.tell() > _MAX_FILE_BYTES:
            self._file.close()
            self._path.rename(f"{self._path}.1")
            self._file = self._open()
        self._file.write(prefixed(service, text, colour=False))
        if self._terminal is not None:
            try:
                self._terminal.write(prefixed(service, text, self._colour))
                self._terminal.flush()
            except OSError:
                # The terminal has gone; the services have not.
                self._terminal = None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
