"""Making a tar while it is sent: a thread writes what the connection reads."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Iterator

from sampan.base.errors import SampanError

__all__ = ["Packed"]

_READ_BYTES = 1 << 18


class Packed:
    """The chunks of a tar that `pack` fills.

    When a file cannot be read, SampanError instead of the next chunk: the request is cut off, so
    that nobody takes half a tar for the whole.
    """

    def __init__(self, pack: Callable[[tarfile.TarFile], None]) -> None:
        self._fill = pack
        self.size_bytes = 0
        self._trouble: OSError | None = None

    def __iter__(self) -> Iterator[bytes]:
        incoming, outgoing = os.pipe()
        thread = threading.Thread(target=self._pack, args=(outgoing,), daemon=True)
        thread.start()
        try:
            while data := os.read(incoming, _READ_BYTES):
                self.size_bytes += len(data)
                yield data
        finally:
            os.close(incoming)
            thread.join()
        if self._trouble is not None:
            raise SampanError(f"{self._trouble.filename}: {self._trouble.strerror}")

    def _pack(self, outgoing: int) -> None:
        try:
            with (
                os.fdopen(outgoing, "wb") as file,
                tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                self._fill(archive)
        except BrokenPipeError:
            # Nobody reads any more: the daemon's answer says why.
            pass
        except OSError as error:
            self._trouble = error
