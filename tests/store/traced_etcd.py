"""Our server, run as its own program, with a note in a file of what each fdatasync made durable.

Usage: traced_etcd.py TRACE_FILE FLAGS... Every line of the trace is a path and the offset up to
which its bytes were flushed, written only after the flush returned. Nothing else is changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def length(path: str) -> int:
    """How far a preallocated file is used."""
    with open(path, "rb") as file:
        return len(file.read().rstrip(b"\0"))


def main(arguments: Sequence[str]) -> None:
    trace = os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    written: dict[int, int] = {}
    pwrite, fdatasync = os.pwrite, os.fdatasync

    def noted_pwrite(fd: int, data: bytes, offset: int) -> int:
        count = pwrite(fd, data, offset)
        written[fd] = offset + count
        return count

    def noted_fdatasync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        end = written[fd] if fd in written else length(path)
        fdatasync(fd)
        os.write(trace, f"{path}\t{end}\n".encode())

    os.pwrite = noted_pwrite  # type: ignore[assignment]
    os.fdatasync = noted_fdatasync  # type: ignore[assignment]

    from sampan.cli.main import main as sampan

    sys.argv = ["sampan", "etcd", *arguments[1:]]
    sampan()


if __name__ == "__main__":
    main(sys.argv[1:])
