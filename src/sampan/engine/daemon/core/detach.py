"""The keys that let go of a terminal while its process goes on: `ctrl-p,ctrl-q` unless said."""

from __future__ import annotations

from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["DetachWatch", "parse_keys"]

_DEFAULT: Final = b"\x10\x11"
_CONTROL: Final = {chr(ord("a") + at): 1 + at for at in range(26)} | {
    "@": 0,
    "[": 27,
    "\\": 28,
    "]": 29,
    "^": 30,
    "_": 31,
}


def parse_keys(text: str) -> bytes:
    """Return the bytes of `a,ctrl-b,...`; InvalidError in Docker's words."""
    if not text:
        return _DEFAULT
    found = bytearray()
    for key in text.split(","):
        control = key.lower().removeprefix("ctrl-")
        if len(key) == 1:
            found += key.encode()
        elif key.lower().startswith("ctrl-") and control in _CONTROL:
            found.append(_CONTROL[control])
        else:
            raise InvalidError(f"Invalid detach keys ({text}) provided")
    return bytes(found)


class DetachWatch:
    """Input on its way to a terminal; keys that may begin the sequence are held back."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what goes on to the terminal, and whether the whole sequence has come."""
        passed = bytearray()
        for at in range(len(data)):
            one = data[at]
            if one == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._held]
            self._held = 0
            if one == self._keys[0] and len(self._keys) > 1:
                self._held = 1
            else:
                passed.append(one)
        return bytes(passed), False
