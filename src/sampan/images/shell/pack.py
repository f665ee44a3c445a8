"""Making the tar of a layer out of the own files of an overlay."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Final

from sampan.images.shell.packing import GONE, Output, TarWriter, all_attributes
from sampan.images.shell.stack import is_opaque, is_whiteout

__all__ = ["write_layer"]

_OPAQUE: Final = ".wh..wh..opq"
_WHITEOUT: Final = ".wh."


def write_layer(source: Path, out: Output) -> None:
    """Write the files of an overlay's own directory; what it hides becomes whiteouts. Blocks.

    Entries are in order of their names, so the same files make the same layer.
    """
    tar = TarWriter(out, all_attributes)
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _folder(fd, "", tar)
    finally:
        os.close(fd)
    tar.end()


def _folder(fd: int, path: str, tar: TarWriter) -> None:
    if path and is_opaque(fd):
        tar.empty(f"{path}/{_OPAQUE}")
    for name in sorted(os.listdir(fd)):
        inside = f"{path}/{name}" if path else name
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in GONE:
                continue
            raise
        if is_whiteout(status):
            tar.empty(f"{path}/{_WHITEOUT}{name}" if path else f"{_WHITEOUT}{name}")
            continue
        tar.node(fd, name, inside, partial(_folder, path=inside, tar=tar))
