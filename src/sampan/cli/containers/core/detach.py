"""The keys that leave a container running: `ctrl-p,ctrl-q`, found in what is typed."""

from __future__ import annotations

from sampan.base.errors import InvalidError

__all__ = ["DEFAULT_KEYS", "DetachFilter", "detach_keys"]

DEFAULT_KEYS = b"\x10\x11"


def detach_keys(text: str) -> bytes:
    """Return the bytes of `ctrl-p,ctrl-q`, `a,b`; InvalidError for what is no key."""
    keys = bytearray()
    for name in text.split(","):
        if len(name) == 1 and name.isascii():
            keys += name.encode()
            continue
        letter = name.removeprefix("ctrl-").lower()
        if name == letter or len(letter) != 1 or not "@" <= letter.upper() <= "_":
            raise InvalidError(f"invalid detach keys ({text}): Unknown character: '{name}'")
        keys.append(ord(letter.upper()) & 0x1F)
    return bytes(keys)


class DetachFilter:
    """Passes on what is typed until the keys come in a row."""

    def __init__(self, keys: bytes = DEFAULT_KEYS) -> None:
        self._keys = keys
        self._held = 0
        """How many of the keys have come so far and are held back."""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to send, and whether the keys were complete."""
        sent = bytearray()
        for byte in data:
            if byte == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    return bytes(sent), True
                continue
            sent += self._keys[: self._held]
            self._held = 1 if byte == self._keys[0] else 0
            if not self._held:
                sent.append(byte)
        return bytes(sent), False
