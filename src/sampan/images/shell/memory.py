"""Memory that large transfers have used, given back to the system."""

from __future__ import annotations

import ctypes

__all__ = ["give_back"]


def give_back() -> None:
    """Return free memory of the C heap to the system; it takes about a millisecond.

    The heap keeps what transfers have freed, tens of megabytes, for as long as the process lives.
    Without glibc nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
