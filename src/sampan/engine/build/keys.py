"""Secrets and ssh agents that `sampan build` sends beside a context: a header, never kept.

Docker's classic endpoint has no way for them. The header is base64 (URL's alphabet) of JSON:
`secrets` has values by id in base64, `ssh` has paths of agents' sockets on this machine by id.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = ["KEYS_HEADER", "BuildKeys", "build_keys"]

KEYS_HEADER: Final = "x-sampan-build-keys"
_KEYS_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class BuildKeys:
    """Values of secrets and sockets of agents, by id. Its text has none of them."""

    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    agents: Mapping[str, Path] = field(default_factory=dict)


def build_keys(header: str) -> BuildKeys:
    """Return what a header has; InvalidError, without any of it, when it is malformed."""
    if not header:
        return BuildKeys()
    try:
        document: Any = json.loads(base64.urlsafe_b64decode(header))
        secrets = {
            str(name): base64.b64decode(value, validate=True)
            for name, value in document.get("secrets", {}).items()
        }
        agents = {str(name): Path(path) for name, path in document.get("ssh", {}).items()}
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidError(f"the header {KEYS_HEADER} is malformed") from None
    if len(secrets) + len(agents) > _KEYS_LIMIT:
        raise InvalidError(f"more than {_KEYS_LIMIT} secrets and agents")
    for name, path in agents.items():
        if not _is_socket(path):
            raise InvalidError(f"ssh agent {name}: {path} is no socket on the engine's machine")
    return BuildKeys(secrets, agents)


def _is_socket(path: Path) -> bool:
    try:
        return path.is_absolute() and stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
