"""Key ranges as the API writes them.

`range_end` empty means the one key; `\\0` means every key from `key` on; anything else is the first
key behind the range. A `key` of `\\0` is the smallest key there is.
"""

from __future__ import annotations

__all__ = ["FROM_KEY", "covers", "is_empty", "prefix_end"]

FROM_KEY = b"\x00"


def covers(key: bytes, range_end: bytes, candidate: bytes) -> bool:
    """Tell whether `candidate` lies in the range."""
    if not range_end:
        return candidate == key
    return candidate >= key and (range_end == FROM_KEY or candidate < range_end)


def is_empty(key: bytes, range_end: bytes) -> bool:
    """Tell whether the range can hold no key at all."""
    return range_end not in (b"", FROM_KEY) and range_end <= key


def prefix_end(prefix: bytes) -> bytes:
    """Return the range_end that makes a range of all keys with this prefix."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return FROM_KEY
    return stripped[:-1] + bytes([stripped[-1] + 1])
