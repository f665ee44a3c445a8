"""placeholder"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["default_profile"]


def default_profile(capabilities: Sequence[str], architecture: str) -> dict[str, Any] | None:
    """placeholder"""
    return None
