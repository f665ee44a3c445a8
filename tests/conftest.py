"""Settings shared by all tests."""

from __future__ import annotations

import sys
from pathlib import Path

# Tests import their shared modules as `tests.real`, `tests.servers`, from wherever pytest starts.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)
