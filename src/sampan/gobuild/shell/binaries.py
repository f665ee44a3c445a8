"""Inspecting files: mapped into memory, never read whole."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.base.errors import InvalidError
from sampan.gobuild.core.binary.inspection import Inspection, inspect_binary
from sampan.gobuild.core.binary.window import BinaryError, Buffer

__all__ = ["inspected", "mapped"]


@contextmanager
def mapped(path: str) -> Iterator[Buffer]:
    """Give a file's bytes, which are mapped meanwhile; InvalidError when it cannot be used."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise InvalidError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidError(f"{path}: not a regular file")
        data: Buffer = b""
        if status.st_size:
            data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    try:
        yield data
    except BinaryError as error:
        raise BinaryError(f"{path}: {error}") from None
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


@contextmanager
def inspected(path: str) -> Iterator[list[Inspection]]:
    """Give what a file contains while it is mapped; InvalidError when it cannot be used."""
    with mapped(path) as data:
        yield inspect_binary(path, data)
