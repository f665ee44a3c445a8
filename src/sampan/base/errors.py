"""Errors that every part shares.

SampanError            the environment or a peer failed; the message says what to do
├─ InvalidError        the caller's input cannot be right, whatever the state
├─ NotFoundError       what the caller named does not exist
├─ ConflictError       the state forbids it now: a name in use, a container running
├─ DeniedError         credentials or permission are missing
├─ UnavailableError    a peer or a resource is not there; trying again may help
├─ LimitError          a bound was exceeded: bytes, entries, a full disk
└─ UnsupportedError    not supported yet, or not on this machine
InvariantError         our own bug; never caught to limp on

A protocol surface maps the kind to its own code (HTTP status, gRPC code, exit code).
"""

from __future__ import annotations

__all__ = [
    "ConflictError",
    "DeniedError",
    "InvalidError",
    "InvariantError",
    "LimitError",
    "NotFoundError",
    "SampanError",
    "UnavailableError",
    "UnsupportedError",
    "invariant",
    "reason_of",
]


class SampanError(Exception):
    """Something outside the program is wrong: a file, a flag, a peer, a full disk."""


class InvalidError(SampanError):
    """The input cannot be right: malformed, out of range, or in contradiction to itself."""


class NotFoundError(SampanError):
    """What the caller named does not exist."""


class ConflictError(SampanError):
    """The request contradicts the present state."""


class DeniedError(SampanError):
    """Credentials or permission are missing."""


class UnavailableError(SampanError):
    """A peer or a resource cannot be reached now; trying again may help."""


class LimitError(SampanError):
    """A bound was exceeded: bytes, entries, a ratio, space on a disk."""


class UnsupportedError(SampanError):
    """Not supported yet, or not on this machine; the message says which."""


class InvariantError(AssertionError):
    """A condition that the code itself guarantees does not hold."""


def reason_of(error: BaseException) -> str:
    """Return an error's words; those of the operating system as other programs have them.

    `[Errno 28] No space left on device: '/x'` becomes `/x: no space left on device`.
    """
    if isinstance(error, OSError) and error.errno and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror[:1].lower()}{error.strerror[1:]}"
    return str(error)


def invariant(condition: object, message: str) -> None:
    """Raise InvariantError with `message` unless `condition` holds (also under `python -O`)."""
    if not condition:
        raise InvariantError(message)
