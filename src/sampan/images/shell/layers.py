"""Unpacking a layer in one pass: decompressed, verified, placed.

An image comes from strangers. Entries are placed by descriptors of their directories, and what
would lead out, or grows beyond its bounds, is refused with a LayerError or a LimitError; nothing
outside the directory is touched, and the caller removes the directory then.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from sampan.base.errors import LimitError, SampanError
from sampan.images.core.tar import Entry, TarError
from sampan.images.core.tarreader import TarReader
from sampan.images.shell.compression import DAMAGED
from sampan.images.shell.folders import LayerError
from sampan.images.shell.layersource import LayerSource
from sampan.images.shell.unpack import Form, Unpacker

__all__ = [
    "Form",
    "LayerError",
    "LayerLimits",
    "Unpacked",
    "apply_layer",
    "diff_id_of",
    "unpack_layer",
]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class LayerLimits:
    """Bounds of what a layer may unfold to."""

    size_bytes: int = 64 << 30
    entries: int = 2_000_000
    ratio: int = 1_000
    ratio_from_bytes: int = 256 << 20
    file_bytes: int = 16 << 40
    """Of one file with its holes, which take no space."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of a layer: its digests, and what its files take."""

    blob: str
    diff_id: str
    size_bytes: int
    entries: int


def apply_layer(
    file: BinaryIO, target: Path, limits: LayerLimits | None = None, *, devices: bool = True
) -> str:
    """Unpack a layer into an empty directory in the form that overlayfs reads.

    Returns the diff id: the digest of the plain tar. Raises LayerError or LimitError; the caller
    removes the directory then.
    """
    return unpack_layer(file, target, Form(devices=devices), limits).diff_id


def unpack_layer(
    file: BinaryIO,
    target: Path,
    form: Form,
    limits: LayerLimits | None = None,
    *,
    algorithm: str = "sha256",
) -> Unpacked:
    """Unpack a layer, from the beginning of a file that can seek; blocks.

    `algorithm` is that of the blob's digest.

    Raises LayerError for what must not be unpacked, LimitError for what is too much, also for the
    disk; the caller removes the directory then.
    """
    limits = limits or LayerLimits()
    source = LayerSource(file, _bounds(file, limits), algorithm)
    with _closing(source):
        unpacker = Unpacker(target, form)
        try:
            entries = _place_all(TarReader(source), unpacker, limits)
            if not source.finish():
                raise LayerError("layer has data behind the end of its tar")
            unpacker.finish()
        finally:
            unpacker.abandon()
    return Unpacked(source.blob, source.diff_id, unpacker.size_bytes, entries)


def diff_id_of(file: BinaryIO, limits: LayerLimits | None = None) -> str:
    """Return the digest of the plain tar in a layer without unpacking it; blocks.

    Raises LayerError when it cannot be decompressed, LimitError when it unfolds too far.
    """
    source = LayerSource(file, _bounds(file, limits or LayerLimits()), "sha256")
    with _closing(source):
        source.finish()
    return source.diff_id


@contextlib.contextmanager
def _closing(source: LayerSource) -> Iterator[None]:
    """Stop a source's threads in the end; what is wrong with the layer becomes a LayerError."""
    try:
        yield
    except (TarError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise LayerError(f"layer cannot be read: {error}") from error
    finally:
        source.close()


def _bounds(file: BinaryIO, limits: LayerLimits) -> Callable[[int], None]:
    """Return the check of how far a layer has unfolded."""
    compressed_bytes = os.fstat(file.fileno()).st_size
    most = max(limits.ratio_from_bytes, compressed_bytes * limits.ratio)

    def check(size: int) -> None:
        if size > limits.size_bytes:
            raise LimitError(f"layer unfolds beyond {limits.size_bytes} bytes")
        if size > most:
            raise LimitError(f"layer unfolds to more than {limits.ratio} times its size")

    return check


def _place_all(reader: TarReader, unpacker: Unpacker, limits: LayerLimits) -> int:
    """Place every entry; returns how many."""
    count = 0
    while (entry := reader.next()) is not None:
        count += 1
        if count > limits.entries:
            raise LimitError(f"layer has more than {limits.entries} entries")
        if entry.full_size > limits.file_bytes:
            raise LimitError(f"{entry.name}: larger than {limits.file_bytes} bytes")
        try:
            unpacker.place(reader, entry)
        except OSError as error:
            raise _named(entry, error) from error
    return count


def _named(entry: Entry, error: OSError) -> SampanError | OSError:
    """Return the error of an entry: of the layer, of a full disk, or of the machine."""
    if error.errno is None:
        return error  # a decompressor's
    text = f"{entry.name[:256]}: {error.strerror}"
    if error.errno == errno.EINVAL and (entry.uid or entry.gid):
        # What a change of owner says in a user namespace without that id.
        text += (
            f" (user {entry.uid}, group {entry.gid}: a daemon without root has more ids by "
            "/etc/subuid and /etc/subgid)"
        )
    if error.errno in _FULL:
        return LimitError(text)
    if error.errno in (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS):
        return SampanError(text)
    return LayerError(text)
