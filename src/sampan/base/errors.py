"""Errors that every part shares.

SampanError            the environment or a peer failed; the message says what to do
InvariantError         our own bug; never caught to limp on
"""

from __future__ import annotations

__all__ = ["InvariantError", "SampanError", "invariant"]


class SampanError(Exception):
    """Something outside the program is wrong: a file, a flag, a peer, a full disk."""


class InvariantError(AssertionError):
    """A condition that the code itself guarantees does not hold."""


def invariant(condition: object, message: str) -> None:
    """Raise InvariantError with `message` unless `condition` holds (also under `python -O`)."""
    if not condition:
        raise InvariantError(message)
