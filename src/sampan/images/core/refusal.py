"""What a registry says when it refuses, and how Docker puts that to people.

RegistryError          an answer that is not the one asked for; `status` and the protocol's `code`
├─ MissingError        404: no such repository, manifest or blob
├─ UnauthorizedError   401: who are you
├─ ForbiddenError      403: not you
├─ BusyError           429 and 5xx: later perhaps, after `retry_after_s`
└─ RejectedError       any other 4xx
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from sampan.base.errors import (
    DeniedError,
    InvalidError,
    NotFoundError,
    SampanError,
    UnavailableError,
)
from sampan.images.core.reference import Reference

__all__ = [
    "BusyError",
    "ForbiddenError",
    "MissingError",
    "RegistryError",
    "RejectedError",
    "UnauthorizedError",
    "pull_refusal",
    "refusal",
]

_TEXT_BYTES: Final = 1024


class RegistryError(SampanError):
    """A registry's answer that is not the one asked for."""

    def __init__(
        self, message: str, status: int, code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class MissingError(RegistryError, NotFoundError):
    """There is no such thing, or nobody is to know."""


class UnauthorizedError(RegistryError, DeniedError):
    """Credentials are missing or wrong."""


class ForbiddenError(RegistryError, DeniedError):
    """These credentials do not allow it."""


class BusyError(RegistryError, UnavailableError):
    """The registry cannot answer now."""


class RejectedError(RegistryError, InvalidError):
    """The registry does not accept what it was sent."""


def _first_error(body: bytes) -> tuple[str, str]:
    """Return code and words of the first error in a body; empty where there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(document, Mapping):
        return "", ""
    errors = document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], Mapping):
        code, message = str(errors[0].get("code") or ""), str(errors[0].get("message") or "")
        shown = code.lower().replace("_", " ")
        return code, f"{shown}: {message or shown}"[:_TEXT_BYTES]
    details = document.get("details") or document.get("message") or document.get("error")
    return "", str(details)[:_TEXT_BYTES] if details else ""


def refusal(status: int, reason: str, body: bytes, retry_after: str = "") -> RegistryError:
    """Return the error for an answer of that status with that body."""
    code, message = _first_error(body)
    wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    if status == 401:
        return UnauthorizedError(message or "unauthorized: authentication required", status, code)
    if status == 429:
        words = message or "toomanyrequests: too many requests"
        return BusyError(words, status, code or "TOOMANYREQUESTS", wait_s)
    kind: type[RegistryError] = RejectedError
    if status in (403, 404):
        kind = ForbiddenError if status == 403 else MissingError
    elif status >= 500 or status == 408:
        kind = BusyError
    words = message or f"received unexpected HTTP status: {status} {reason}"
    return kind(words, status, code, wait_s)


def pull_refusal(error: RegistryError, reference: Reference) -> SampanError:
    """Return the error of a pull as Docker words it."""
    name = reference.familiar_name
    match error.code:
        case "DENIED":
            return NotFoundError(
                f"pull access denied for {name}, repository does not exist or may require "
                f"'docker login': {error}"
            )
        case "NAME_UNKNOWN":
            return NotFoundError(f"repository {name} not found: {error}")
        case "MANIFEST_UNKNOWN":
            return NotFoundError(f"manifest for {reference.familiar} not found: {error}")
    if isinstance(error, MissingError):
        shown = "manifest unknown" if not error.code else error
        return NotFoundError(f"manifest for {reference.familiar} not found: {shown}")
    return error
