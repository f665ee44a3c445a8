"""placeholder"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["compile_filter"]


def compile_filter(seccomp: Mapping[str, Any]) -> bytes:
    """placeholder"""
    raise NotImplementedError
