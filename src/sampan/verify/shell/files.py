"""History files on a disk."""

from __future__ import annotations

import time
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.verify.core.budget import Budget
from sampan.verify.core.history import History
from sampan.verify.core.jsonl import FormatError, read
from sampan.verify.core.verdict import Report, check

__all__ = ["check_file", "load"]


def load(path: Path) -> History:
    """Read a history file. Raises SampanError when there is none, or it is not one."""
    try:
        with path.open(encoding="utf-8") as file:
            return read(file)
    except OSError as error:
        raise SampanError(f"cannot read {path}: {error.strerror}") from None
    except (FormatError, UnicodeDecodeError) as error:
        raise SampanError(f"{path} is no history: {error}") from None


def check_file(path: Path, *, seconds: float, states: int) -> Report:
    """Check a history file, for so many seconds and with so many states in memory at most."""
    deadline_s = time.monotonic() + seconds
    budget = Budget(steps=1 << 62, states=states, expired=lambda: time.monotonic() > deadline_s)
    return check(load(path), budget)
