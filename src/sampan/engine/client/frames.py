"""Streams without a terminal: stdout and stderr in frames of eight bytes and data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sampan.base.errors import SampanError

__all__ = ["STDERR", "STDOUT", "frames"]

STDOUT = 1
STDERR = 2
_SYSTEM_ERROR = 3
_HEAD_BYTES = 8


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (stream, data) in order; a frame comes in pieces when its data does.

    Raises SampanError for what is no frame, and with the daemon's words when it reports an error
    in the stream.
    """
    head = bytearray()
    stream = left = 0
    trouble = bytearray()
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            if not left:
                taken = chunk[position : position + _HEAD_BYTES - len(head)]
                head += taken
                position += len(taken)
                if len(head) < _HEAD_BYTES:
                    break
                stream, left = head[0], int.from_bytes(head[4:])
                if stream > _SYSTEM_ERROR or head[1:4] != b"\0\0\0":
                    raise SampanError(f"Unrecognized input header: {head[0]}")
                head.clear()
                continue
            data = chunk[position : position + left]
            position += len(data)
            left -= len(data)
            if stream == _SYSTEM_ERROR:
                trouble += data
                if not left:
                    words = trouble.decode(errors="replace")
                    raise SampanError(f"error from daemon in stream: {words}")
                continue
            yield stream, data
