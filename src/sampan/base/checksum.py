"""CRC-32C (Castagnoli), the checksum of log records and of the key space."""

from __future__ import annotations

from google_crc32c import extend

__all__ = ["crc32c"]


def crc32c(data: bytes, state: int = 0) -> int:
    """Return the checksum of `data` behind what `state` is the checksum of."""
    return int(extend(state, data))
