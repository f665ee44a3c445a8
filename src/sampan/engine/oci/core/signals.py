"""Signals by name or number, as `kill` takes them."""

from __future__ import annotations

from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["signal_number"]

_NAMES: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_NUMBERS: Final = {
    **{name: number for number, name in enumerate(_NAMES, 1)},
    "IOT": 6,
    "CLD": 17,
    "POLL": 29,
    "UNUSED": 31,
    "RTMIN": 34,
    "RTMAX": 64,
}
_LAST: Final = 64


def signal_number(word: str) -> int:
    """Return the number of TERM, SIGTERM, sigterm, RTMIN+1 or 15; InvalidError for others."""
    if word.isdigit():
        number = int(word)
    else:
        name, plus, offset = word.upper().removeprefix("SIG").partition("+")
        name, minus, below = name.partition("-")
        number = _NUMBERS.get(name, -1)
        if plus and name == "RTMIN" and offset.isdigit():
            number += int(offset)
        elif minus and name == "RTMAX" and below.isdigit():
            number -= int(below)
        elif plus or minus:
            number = -1
    if not 0 <= number <= _LAST:
        raise InvalidError(f'unknown signal "{word}"')
    return number
