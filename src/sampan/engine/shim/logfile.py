"""Container logs on disk: Docker's json-file format and the kubelet's CRI format, with rotation.

A line longer than 16 KiB is stored in pieces, as Docker does; only the last piece ends with a
newline. CRI marks the pieces P and the last one F.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final

__all__ = ["LogOptions", "LogWriter", "stamp"]

_PIECE_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where and how: `driver` is json-file, cri or none; no rotation without `max_bytes`."""

    driver: str = "json-file"
    path: str = ""
    max_bytes: int = 0
    max_files: int = 1
    attributes: tuple[tuple[str, str], ...] = ()


def stamp(time_ns: int) -> str:
    """Return RFC 3339 with nanoseconds, in UTC."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


class LogWriter:
    """Takes output as it comes and writes whole lines; `end` writes what has no newline."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._partial: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self._fd = -1
        self._size = 0
        self._suffix = ""
        if options.attributes:
            self._suffix = ',"attrs":' + json.dumps(dict(options.attributes))
        if options.driver != "none":
            self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._options.path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Take output of `stdout` or `stderr`."""
        if self._fd < 0:
            return
        data = self._partial[stream] + data
        lines = data.splitlines(keepends=True) if b"\r" not in data else _split(data)
        rest = b""
        if lines and not lines[-1].endswith(b"\n"):
            rest = lines.pop()
        out: list[bytes] = []
        now = stamp(time.time_ns())
        for line in lines:
            out += self._records(stream, line, now)
        while len(rest) >= _PIECE_BYTES:
            out.append(self._record(stream, rest[:_PIECE_BYTES], now))
            rest = rest[_PIECE_BYTES:]
        self._partial[stream] = rest
        self._append(out)

    def end(self, stream: str) -> None:
        """Write the last line of a stream that had no newline."""
        rest, self._partial[stream] = self._partial[stream], b""
        if rest and self._fd >= 0:
            self._append([self._record(stream, rest, stamp(time.time_ns()), last=True)])

    def _records(self, stream: str, line: bytes, now: str) -> list[bytes]:
        pieces = []
        while len(line) > _PIECE_BYTES:
            pieces.append(self._record(stream, line[:_PIECE_BYTES], now))
            line = line[_PIECE_BYTES:]
        pieces.append(self._record(stream, line, now))
        return pieces

    def _record(self, stream: str, piece: bytes, now: str, *, last: bool = False) -> bytes:
        if self._options.driver == "cri":
            whole = piece.endswith(b"\n")
            tag = b"F" if whole or last else b"P"
            text = piece if whole else piece + b"\n"
            return b"%s %s %s %s" % (now.encode(), stream.encode(), tag, text)
        quoted = encode_basestring(piece.decode(errors="replace"))
        line = f'{{"log":{quoted},"stream":"{stream}"{self._suffix},"time":"{now}"}}\n'
        return line.encode()

    def _append(self, records: list[bytes]) -> None:
        limit = self._options.max_bytes
        for record in records if limit else [b"".join(records)]:
            if limit and self._size and self._size + len(record) > limit:
                self._rotate()
            _write_all(self._fd, record)
            self._size += len(record)

    def _rotate(self) -> None:
        path, count = self._options.path, max(self._options.max_files, 1)
        os.close(self._fd)
        if count == 1:
            os.truncate(path, 0)
        else:
            for number in range(count - 1, 1, -1):
                if os.path.exists(f"{path}.{number - 1}"):
                    os.replace(f"{path}.{number - 1}", f"{path}.{number}")
            os.replace(path, f"{path}.1")
        self._open()

    def reopen(self) -> None:
        """Open the path anew, after somebody else has moved the file away."""
        if self._fd >= 0:
            os.close(self._fd)
            self._open()

    def close(self) -> None:
        """Write what is left and close."""
        for stream in self._partial:
            self.end(stream)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _split(data: bytes) -> list[bytes]:
    """Split at newlines only: a carriage return does not end a line of a log."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError:
            return  # a full disk must stop the log, not the container
