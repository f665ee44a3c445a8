"""Which gRPC code an error of ours has, by its kind (`sampan.base.errors`)."""

from __future__ import annotations

from typing import Final

from sampan.base.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    LimitError,
    NotFoundError,
    SampanError,
    UnavailableError,
    UnsupportedError,
)
from sampan.wire.grpc.status import Code

__all__ = ["code_of"]

_CODES: Final = (
    (NotFoundError, Code.NOT_FOUND),
    (InvalidError, Code.INVALID_ARGUMENT),
    (ConflictError, Code.FAILED_PRECONDITION),
    (DeniedError, Code.PERMISSION_DENIED),
    (UnavailableError, Code.UNAVAILABLE),
    (LimitError, Code.RESOURCE_EXHAUSTED),
    (UnsupportedError, Code.UNIMPLEMENTED),
)


def code_of(error: SampanError) -> Code:
    """Return the gRPC code of an error, UNKNOWN for one that is of no kind."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.UNKNOWN)
