"""How far a transfer is: the lines of Docker's progress streams, and which of them to leave out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Progress", "Throttle", "error_line"]

_BAR: Final = 50
_INTERVAL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """One piece of news: of a layer when `id` names one and `detail` is on, else of the whole."""

    status: str = ""
    id: str = ""
    current: int | None = None
    total: int = 0
    aux: Mapping[str, Any] | None = None
    detail: bool = True

    @classmethod
    def message(cls, status: str, id_: str = "") -> Progress:
        """Return news of the whole."""
        return cls(status, id_, detail=False)

    @property
    def line(self) -> bytes:
        """The news as a line of the stream."""
        found: dict[str, Any] = {}
        if self.status:
            found["status"] = self.status
        if self.detail:
            counted = {"current": self.current, "total": self.total}
            detail = {name: value for name, value in counted.items() if value}
            found["progressDetail"] = detail if self.current is not None else {}
            if self.current is not None:
                found["progress"] = _bar(self.current, self.total)
        if self.id:
            found["id"] = self.id
        if self.aux is not None:
            found["aux"] = dict(self.aux)
        return json.dumps(found, separators=(",", ":")).encode() + b"\r\n"


def error_line(message: str) -> bytes:
    """Return the line that ends a stream which has failed."""
    found = {"errorDetail": {"message": message}, "error": message}
    return json.dumps(found, separators=(",", ":")).encode() + b"\r\n"


def _human(size: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.4g}{units[0]}"


def _bar(current: int, total: int) -> str:
    if total <= 0 or current > total:
        return f"{_human(current):>8}" if current > 0 else ""
    done = current * _BAR // total
    return f"[{'=' * done}>{' ' * (_BAR - done)}] {_human(current):>8}/{_human(total)}"


class Throttle:
    """Lets at most ten counts a second through for each layer, and everything else."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, str]] = {}

    def passes(self, progress: Progress, now_s: float) -> bool:
        """Tell whether news is to be told at that moment."""
        if progress.current is None:
            return True
        last_s, status = self._last.get(progress.id, (0.0, ""))
        done = progress.current >= progress.total
        if progress.status == status and now_s - last_s < _INTERVAL_S and not done:
            return False
        self._last[progress.id] = (now_s, progress.status)
        return True
