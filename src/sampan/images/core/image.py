"""What an image is: its configuration, its layers, and the ids that follow from them.

Source: OCI image specification 1.1, "config" and "layer"; Docker's image specification 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.base.errors import InvalidError
from sampan.images.core.digest import digest_of
from sampan.images.core.reference import is_digest

__all__ = ["Image", "chain_ids", "digest_of", "parse_image"]


@dataclass(frozen=True, slots=True)
class Image:
    """One image for one platform. `id` is the digest of `raw`, its configuration document."""

    id: str
    raw: bytes
    document: Mapping[str, Any]
    diff_ids: tuple[str, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """How containers of it are run: Env, Cmd, Entrypoint and so on."""
        return self.document.get("config") or {}

    @property
    def chain_id(self) -> str | None:
        """The id of all layers together, None without layers."""
        return chain_ids(self.diff_ids)[-1] if self.diff_ids else None

    @property
    def created(self) -> str:
        """When it was made, RFC 3339."""
        return str(self.document.get("created") or "0001-01-01T00:00:00Z")


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the id of each layer applied upon those before it."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def parse_image(raw: bytes, id_: str | None = None) -> Image:
    """Return the image of a configuration document; InvalidError when it is none.

    Its id is the document's digest, unless it is known by another one.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"image configuration is not JSON: {error}") from None
    rootfs = document.get("rootfs") if isinstance(document, dict) else None
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list):
        raise InvalidError("image configuration has no rootfs.diff_ids")
    if not all(isinstance(one, str) and is_digest(one) for one in diff_ids):
        raise InvalidError("image configuration: a diff id is not a digest")
    config = document.get("config")
    if config is not None and not isinstance(config, dict):
        raise InvalidError("image configuration: config is not an object")
    return Image(id_ or digest_of(raw), raw, document, tuple(diff_ids))
