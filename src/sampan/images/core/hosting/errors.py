"""What a registry answers when it does not do what it was asked.

Source: OCI distribution specification 1.1, "Error Codes".
"""

from __future__ import annotations

import json
from typing import Final

from sampan.base.errors import SampanError

__all__ = ["HostingError", "blob_unknown", "manifest_unknown"]

_STATUS: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
    "RANGE_INVALID": 416,
}


class HostingError(SampanError):
    """An error of the specification: its code, a message, and what exactly in `detail`."""

    def __init__(self, code: str, message: str, detail: object = None, *, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail
        self.status = status or _STATUS[code]

    @property
    def body(self) -> bytes:
        """The JSON document of the answer."""
        found = {"code": self.code, "message": str(self), "detail": self.detail}
        return json.dumps({"errors": [found]}).encode()


def blob_unknown(digest: str) -> HostingError:
    """Return the error for a blob that a repository does not have."""
    return HostingError("BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})


def manifest_unknown(name: str, reference: str) -> HostingError:
    """Return the error for a manifest that a repository does not have."""
    detail = {"name": name, "reference": reference}
    return HostingError("MANIFEST_UNKNOWN", "manifest unknown to registry", detail)
