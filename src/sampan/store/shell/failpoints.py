"""Named places where a test makes the store crash, wait or fail.

Off, a place costs a look at an empty dictionary. They are switched on by the environment when the
server starts, `SAMPAN_FAILPOINTS=name=terms[;name=terms...]`, or by HTTP, see `failpoint_http`.
Terms are gofail's: `panic`, `sleep(MS)`, `return(TEXT)` and `off`, each with a count `N*` or a
chance `P%` before it, joined by `->`: `20*off->panic` crashes when the place is reached for the
21st time. `panic` ends the process at once as a crash would, with exit code 86; `return` raises an
OSError with the text, of the number that it names (`ENOSPC`), else EIO. This is the one state that
belongs to the process and not to a server: what it does, it does to the process.
"""

from __future__ import annotations

import errno
import os
import random
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import SampanError

__all__ = ["EXIT_CODE", "NAMES", "POINTS", "FailpointError", "Failpoints", "hit"]

NAMES: Final = (
    "walBeforeSave",
    "walAfterSave",
    "walBeforeSync",
    "walAfterSync",
    "beforeApply",
    "afterApply",
    "backendBeforeCommit",
    "backendAfterCommit",
    "snapshotBeforeSave",
    "snapshotAfterSave",
    "compactBefore",
    "compactAfter",
    "defragBefore",
    "defragAfter",
    "membershipBeforeApply",
    "membershipAfterApply",
)
EXIT_CODE: Final = 86

_TERM: Final = re.compile(
    r"(?:(?P<count>\d+)\*|(?P<chance>\d+(?:\.\d+)?)%)?"
    r"(?P<action>off|panic|sleep|return)(?:\((?P<argument>[^()]*)\))?"
)


class FailpointError(SampanError):
    """A failpoint that does not exist, or terms that mean nothing."""


@dataclass(slots=True)
class _Term:
    """One term; `left` is how often it still applies, None for ever."""

    action: str
    argument: str
    left: int | None
    chance: float


class _Point:
    """An active failpoint: its terms, of which the first that is not used up applies."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._terms = [_parsed(name, term) for term in text.split("->")]
        self._lock = threading.Lock()

    def reached(self) -> None:
        term = self._next()
        if term is None or term.action == "off":
            return
        if term.action == "sleep":
            threading.Event().wait(float(term.argument) / 1000)
        elif term.action == "return":
            number = getattr(errno, term.argument, errno.EIO) if term.argument else errno.EIO
            raise OSError(number, term.argument or f"failpoint {self.name}")
        else:
            sys.stderr.write(f"failpoint {self.name}: panic\n")
            sys.stderr.flush()
            os._exit(EXIT_CODE)

    def _next(self) -> _Term | None:
        with self._lock:
            for term in self._terms:
                if term.left != 0:
                    if term.left is not None:
                        term.left -= 1
                    return term if random.random() < term.chance else None
        return None


def _parsed(name: str, text: str) -> _Term:
    found = _TERM.fullmatch(text.strip())
    if found is None:
        raise FailpointError(
            f"failpoint {name}: {text!r} is no term; terms are panic, sleep(MS), return(TEXT), off"
        )
    action, argument = found["action"], found["argument"] or ""
    if action == "sleep" and not re.fullmatch(r"\d+(\.\d+)?", argument):
        raise FailpointError(f"failpoint {name}: sleep needs milliseconds, not {argument!r}")
    count, chance = found["count"], found["chance"]
    return _Term(action, argument, int(count) if count else None, float(chance or 100) / 100)


class Failpoints:
    """The places by name, and what is on."""

    def __init__(self) -> None:
        self._active: dict[str, _Point] = {}

    def hit(self, name: str) -> None:
        """The process is at a place; raises OSError or does not return if that is asked for."""
        if self._active:
            point = self._active.get(name)
            if point is not None:
                point.reached()

    def enable(self, name: str, terms: str) -> None:
        """Switch a place on. Raises FailpointError."""
        if name not in NAMES:
            raise FailpointError(f"there is no failpoint {name}; there are {', '.join(NAMES)}")
        self._active[name] = _Point(name, terms)

    def disable(self, name: str) -> None:
        """Switch a place off."""
        self._active.pop(name, None)

    def terms(self, name: str) -> str:
        """What a place does now; empty when it is off."""
        point = self._active.get(name)
        return "" if point is None else point.text

    def arm(self, environment: Mapping[str, str]) -> None:
        """Switch on what the environment asks for. Raises FailpointError."""
        for part in environment.get("SAMPAN_FAILPOINTS", "").split(";"):
            name, _, terms = part.strip().partition("=")
            if name:
                self.enable(name, terms)


POINTS: Final = Failpoints()
hit: Final = POINTS.hit
