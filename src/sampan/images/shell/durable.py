"""Layers that survive a power cut, without a wait for the disk.

A layer is renamed into its place before its files are on the disk, and says so by a mark with the
id of the present boot. A thread flushes the file system afterwards and takes the marks away. A mark
of an earlier boot means that the power went between: that layer is not to be trusted.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

from sampan.images.shell import syscalls

__all__ = ["Flusher"]

_MARK: Final = "unflushed"
_PAUSE_S: Final = 1.0
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Flusher:
    """Flushes the layers below a directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot = _BOOT.read_text().strip()
        self._lock = threading.Lock()
        self._wanted = self._runs = False
        self._stopped = threading.Event()

    def begin(self, layer: Path) -> None:
        """Mark a layer, before it gets its name."""
        (layer / _MARK).write_text(self._boot)

    def unflushed(self) -> list[Path]:
        """Return the layers that a power cut may have damaged."""
        marks = list(self._folder.glob(f"*/{_MARK}"))
        if marks:
            self.flush_later()
        return [mark.parent for mark in marks if mark.read_text().strip() != self._boot]

    def flush_later(self) -> None:
        """Flush in a thread, once more if one is just doing so."""
        with self._lock:
            self._wanted = True
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="layers: flush", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._runs = False
                    return
                self._wanted = False
            # A moment, for what comes in one go to be flushed in one.
            self._stopped.wait(_PAUSE_S)
            with contextlib.suppress(OSError):
                self.flush()

    def flush(self) -> None:
        """Flush now, and take away the marks that were there before; blocks."""
        marks = list(self._folder.glob(f"*/{_MARK}"))
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.syncfs(fd)
            for mark in marks:
                mark.unlink(missing_ok=True)
        finally:
            os.close(fd)
