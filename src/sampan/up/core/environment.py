"""Variables for a shell, by which docker, etcdctl and others find the services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["exports", "variables"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def variables(endpoints: Mapping[str, object]) -> dict[str, str]:
    """Return the variables for what `endpoints.json` says."""
    return {
        "DOCKER_HOST": str(endpoints["engine"]),
        "ETCDCTL_API": "3",
        "ETCDCTL_ENDPOINTS": str(endpoints["store"]),
        "SAMPAN_REGISTRY": str(endpoints["registry"]).partition("://")[2],
    }


def exports(values: Mapping[str, str]) -> str:
    """Return lines that a POSIX shell evaluates, quoted where it is needed."""
    return "".join(f"export {name}={_quoted(value)}\n" for name, value in values.items())


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"
