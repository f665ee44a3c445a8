"""Reading logs in whatever encoding they are, up to a size."""

from __future__ import annotations

import codecs
import re
import sys
from typing import Final

from sampan.base.errors import InvalidError
from sampan.gobuild.core.explain.collected import uncollected

__all__ = ["decoded", "read_log"]

_LIMIT_BYTES: Final = 64 << 20
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read_log(path: str) -> str:
    """Return the text of a file, or of standard input for `-`; at most its first 64 MiB."""
    if path == "-":
        return decoded(sys.stdin.buffer.read(_LIMIT_BYTES))
    try:
        with open(path, "rb") as file:
            return decoded(file.read(_LIMIT_BYTES))
    except OSError as error:
        raise InvalidError(f"{path}: {error.strerror}") from None


def decoded(data: bytes) -> str:
    """Return the text of bytes: UTF-8, or UTF-16 with its mark; what is neither is replaced.

    A terminal's colours are left out, for they stand within the words, and what collectors put
    around lines.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    return uncollected(text.replace("\r\n", "\n"))
