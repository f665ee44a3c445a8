"""Digests: content is named by what it hashes to. All write SHA-256, SHA-512 is read too."""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

from sampan.base.errors import InvalidError
from sampan.images.core.reference import is_digest

__all__ = ["ALGORITHMS", "Hash", "digest_of", "new_hash", "split_digest", "verify"]

ALGORITHMS: Final = ("sha256", "sha512")


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take more of the content."""

    def hexdigest(self) -> str:
        """Return the hex digits."""


def split_digest(digest: str) -> tuple[str, str]:
    """Return algorithm and hex digits; InvalidError for what is no digest or not supported."""
    if not is_digest(digest):
        raise InvalidError(f"unsupported digest {digest!r}")
    algorithm, _, digits = digest.partition(":")
    return algorithm, digits


def new_hash(algorithm: str) -> Hash:
    """Return a fresh hash of a supported algorithm."""
    return hashlib.sha512() if algorithm == "sha512" else hashlib.sha256()


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the algorithm's name and the hex digest."""
    hash_ = new_hash(algorithm)
    hash_.update(data)
    return f"{algorithm}:{hash_.hexdigest()}"


def verify(data: bytes, digest: str) -> bytes:
    """Return the data; InvalidError unless it hashes to that digest."""
    found = digest_of(data, split_digest(digest)[0])
    if found != digest:
        raise InvalidError(f"digest mismatch: expected {digest}, got {found}")
    return data
