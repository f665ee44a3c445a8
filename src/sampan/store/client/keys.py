"""Keys as callers write them, and the range that a prefix means."""

from __future__ import annotations

__all__ = ["ALL_KEYS", "Key", "key_bytes", "prefix_end"]

Key = bytes | str
"""A key or value: bytes, or text that is sent as UTF-8."""

ALL_KEYS = b"\0"
"""As key and as range end: every key of the store."""


def key_bytes(key: Key) -> bytes:
    """Return `key` as the bytes that go over the wire."""
    return key.encode() if isinstance(key, str) else key


def prefix_end(prefix: Key) -> bytes:
    """Return the first key after all keys that start with `prefix`; ALL_KEYS when there is none.

    An empty prefix covers the whole store: ask for it with key ALL_KEYS and this range end.
    """
    stem = key_bytes(prefix).rstrip(b"\xff")
    if not stem:
        return ALL_KEYS
    return stem[:-1] + bytes((stem[-1] + 1,))
