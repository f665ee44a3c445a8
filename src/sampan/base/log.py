"""Structured log lines in the form that readers of etcd's logs expect.

One JSON object per line: `level`, `ts` (UTC, microseconds), `caller` where given, `msg`, then the
fields in the order they were given. The console form has the same parts separated by tabs.
Pure: the clock and the sink are handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from typing import TypeAlias

__all__ = ["Field", "Level", "Logger", "format_line"]

Field: TypeAlias = object
"""Anything `json` can write; other values are written as their `str`."""


class Level(IntEnum):
    """How bad it is; a logger drops what is below its own level."""

    DEBUG = -1
    INFO = 0
    WARN = 1
    ERROR = 2
    PANIC = 4
    FATAL = 5

    @classmethod
    def parse(cls, text: str) -> Level:
        """Return the level named `text`, in lower case. Raises ValueError for an unknown name."""
        try:
            return cls[text.upper()] if text == text.lower() else cls[text]
        except KeyError:
            raise ValueError(f'unrecognized level: "{text}"') from None


def format_line(
    level: Level, now_s: float, message: str, fields: dict[str, Field], *, console: bool = False
) -> str:
    """Return one log line without its newline; `now_s` is Unix time."""
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if console:
        tail = "\t" + _json(fields) if fields else ""
        return f"{stamp}\t{level.name}\t{message}{tail}"
    return _json({"level": level.name.lower(), "ts": stamp, "msg": message, **fields})


def _json(value: dict[str, Field]) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


class Logger:
    """Formats lines at or above `level` and hands each, with its newline, to `write`."""

    def __init__(
        self,
        write: Callable[[str], object],
        now_s: Callable[[], float],
        *,
        level: Level = Level.INFO,
        console: bool = False,
    ) -> None:
        self.level = level
        self._write = write
        self._now_s = now_s
        self._console = console

    def log(self, level: Level, message: str, fields: dict[str, Field]) -> None:
        """Write one line unless `level` is below the logger's."""
        if level >= self.level:
            line = format_line(level, self._now_s(), message, fields, console=self._console)
            self._write(line + "\n")

    def debug(self, message: str, /, **fields: Field) -> None:
        """Write a detail that only someone who looks for a fault wants."""
        self.log(Level.DEBUG, message, fields)

    def info(self, message: str, /, **fields: Field) -> None:
        """Write what happened in the normal course."""
        self.log(Level.INFO, message, fields)

    def warning(self, message: str, /, **fields: Field) -> None:
        """Write what works but should be looked at."""
        self.log(Level.WARN, message, fields)

    def error(self, message: str, /, **fields: Field) -> None:
        """Write what failed while the program goes on."""
        self.log(Level.ERROR, message, fields)

    def fatal(self, message: str, /, **fields: Field) -> None:
        """Write why the program ends; ending it is the caller's business."""
        self.log(Level.FATAL, message, fields)
