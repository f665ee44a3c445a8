"""Modes of files as `--chmod` gives them: octal, or symbolic as chmod(1) takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["FileMode", "parse_mode"]

_OCTAL: Final = re.compile(r"[0-7]{1,4}|0o?[0-7]{1,4}")
_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_ACTION: Final = re.compile(r"([-+=])([rwxXst]*)")
_SHIFT: Final = {"u": 6, "g": 3, "o": 0}
_BITS: Final = {"r": 4, "w": 2, "x": 1}


@dataclass(frozen=True, slots=True)
class FileMode:
    """Either a whole mode, or changes: who, operator, permissions."""

    whole: int | None
    changes: Sequence[tuple[str, str, str]] = ()

    def apply(self, mode: int, *, directory: bool) -> int:
        """Return what becomes of a mode."""
        if self.whole is not None:
            return self.whole
        for who, operator, permissions in self.changes:
            mode = _changed(mode, who, operator, permissions, directory)
        return mode


def parse_mode(text: str) -> FileMode:
    """Return the mode of a flag's value; InvalidError when it is none."""
    if _OCTAL.fullmatch(text):
        return FileMode(int(text.removeprefix("0o"), 8))
    changes: list[tuple[str, str, str]] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise InvalidError(f"invalid chmod parameter: {text!r}: use an octal number or u+x")
        for operator, permissions in _ACTION.findall(match[2]):
            changes.append((match[1] or "a", operator, permissions))
    return FileMode(None, tuple(changes))


def _changed(mode: int, who: str, operator: str, permissions: str, directory: bool) -> int:
    who = "ugo" if "a" in who else who
    execute = "x" in permissions or ("X" in permissions and (directory or mode & 0o111))
    bits = sum(_BITS[one] for one in set(permissions) & set("rw")) | (1 if execute else 0)
    mask = sum(bits << _SHIFT[one] for one in set(who))
    if "s" in permissions:
        mask |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if "t" in permissions:
        mask |= 0o1000
    if operator == "+":
        return mode | mask
    if operator == "-":
        return mode & ~mask
    cleared = sum(7 << _SHIFT[one] for one in set(who))
    return (mode & ~cleared) | mask
