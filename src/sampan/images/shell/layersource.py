"""The plain bytes of a layer, ahead of whoever unpacks them: decompressed and hashed by threads.

One thread reads, hashes and decompresses the blob, a second one hashes the plain bytes; both spend
their time outside the interpreter's lock. They hand on a few large buffers in a ring, so memory is
bounded and nothing is copied on the way to the file that it belongs to.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import BinaryIO, Final, cast

from sampan.images.core.digest import new_hash
from sampan.images.core.tar import BLOCK_BYTES
from sampan.images.shell.compression import open_plain, peek
from sampan.images.shell.forward import ForwardReader

__all__ = ["LayerSource"]

_BUFFER_BYTES: Final = 1 << 20
_BUFFERS: Final = 6
_NOTHING: Final = memoryview(b"")

_Filled = tuple[bytearray, int]


class _HashedFile(ForwardReader):
    """A file that hashes what is read from it."""

    def __init__(self, file: BinaryIO, algorithm: str) -> None:
        self._file = file
        self.hash = new_hash(algorithm)

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


class LayerSource:
    """A source for a TarReader. After `finish` it knows the digests."""

    def __init__(self, file: BinaryIO, check: Callable[[int], None], algorithm: str) -> None:
        """`check` is called with the plain bytes so far, and raises when they are too many.

        `algorithm` is that of the blob's digest.
        """
        self._check = check
        kind = peek(file)
        # A blob that is not compressed has one digest.
        self._hashed = _HashedFile(file, algorithm) if kind or algorithm != "sha256" else None
        self._algorithm = algorithm
        self._inner = file
        self._kind = kind
        self._free: SimpleQueue[bytearray | None] = SimpleQueue()
        self._plain: SimpleQueue[_Filled | BaseException] = SimpleQueue()
        self._ready: SimpleQueue[_Filled | BaseException] = SimpleQueue()
        self._hash = hashlib.sha256()
        self._buffer: bytearray | None = None
        self._view = _NOTHING
        self._at = self._end = 0
        self._at_end = self._stopped = False
        for _ in range(_BUFFERS):
            self._free.put(bytearray(_BUFFER_BYTES))
        self._threads = [
            threading.Thread(target=self._decompress, name="layer: decompress", daemon=True),
            threading.Thread(target=self._digest, name="layer: digest", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _decompress(self) -> None:
        """Fill buffers to their end, so that no header lies across two of them."""
        try:
            source = cast(BinaryIO, self._hashed or self._inner)
            reader = open_plain(source, self._kind)
            total = 0
            while (buffer := self._free.get()) is not None and not self._stopped:
                view = memoryview(buffer)
                filled = 0
                while filled < _BUFFER_BYTES:
                    count = reader.readinto(view[filled:])
                    if not count:
                        break
                    filled += count
                    total += count
                    self._check(total)
                self._plain.put((buffer, filled))
                if filled < _BUFFER_BYTES:
                    # What the decompressor left behind its end belongs to the blob as well.
                    while source.read(_BUFFER_BYTES):
                        pass
                    return
        except BaseException as error:
            self._plain.put(error)
        finally:
            self._plain.put((bytearray(), 0))

    def _digest(self) -> None:
        while True:
            one = self._plain.get()
            if isinstance(one, tuple):
                buffer, filled = one
                self._hash.update(memoryview(buffer)[:filled])
                self._ready.put(one)
                if not buffer:
                    return
            else:
                self._ready.put(one)

    def _next(self) -> bool:
        """Go on to the next buffer; False at the end."""
        if self._at_end:
            return False
        if self._buffer is not None:
            self._view = _NOTHING
            self._free.put(self._buffer)
            self._buffer = None
        one = self._ready.get()
        if not isinstance(one, tuple):
            self._at_end = True
            raise one
        buffer, filled = one
        if not buffer:
            self._at_end = True
            return False
        self._buffer, self._view = buffer, memoryview(buffer)
        self._at, self._end = 0, filled
        return filled > 0 or self._next()

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, fewer only at the end."""
        at = self._at
        if self._end - at >= size:
            self._at = at + size
            return self._view[at : at + size]
        return memoryview(b"".join(bytes(piece) for piece in self.pieces(size)))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes piece by piece, fewer only at the end."""
        while size:
            if self._at == self._end and not self._next():
                return
            at = self._at
            count = min(size, self._end - at)
            self._at = at + count
            size -= count
            yield self._view[at : at + count]

    def finish(self) -> bool:
        """Read to the end, so that the digests are whole; False when there was more than zeros."""
        zeros = bytes(_BUFFER_BYTES)
        clean = True
        while self._at < self._end or self._next():
            piece = self._view[self._at : self._end]
            clean = clean and bytes(piece) == zeros[: len(piece)]
            self._at = self._end
        return clean

    @property
    def blob(self) -> str:
        """The digest of the blob, after `finish`."""
        hashed = self._hashed.hash if self._hashed else self._hash
        return f"{self._algorithm}:{hashed.hexdigest()}"

    @property
    def diff_id(self) -> str:
        """The digest of the plain bytes, after `finish`."""
        return "sha256:" + self._hash.hexdigest()

    def close(self) -> None:
        """Stop the threads; may be called at any moment."""
        self._stopped = True
        self._view = _NOTHING
        for _ in range(_BUFFERS + 1):
            self._free.put(None)
        for thread in self._threads:
            thread.join()


assert _BUFFER_BYTES % BLOCK_BYTES == 0
