"""Log lines of several services in one stream, each with its service's name before it."""

from __future__ import annotations

from typing import Final

__all__ = ["prefixed", "shown_safely"]

_COLOURS: Final = {"store": 36, "engine": 33, "registry": 35, "up": 32}
_WIDTH: Final = 8
_MAX_CHARACTERS: Final = 4096


def prefixed(service: str, text: str, colour: bool) -> str:
    """Return one line with its newline; the name is coloured on a terminal."""
    name = f"{service:<{_WIDTH}}"
    if colour:
        name = f"\x1b[{_COLOURS.get(service, 37)}m{name}\x1b[0m"
    return f"{name} | {text}\n"


def shown_safely(line: bytes) -> str:
    """Return a service's line as text that cannot steer a terminal, and is not without end."""
    text = line.decode(errors="replace").rstrip("\r\n")
    if len(text) > _MAX_CHARACTERS:
        text = text[:_MAX_CHARACTERS] + "..."
    return "".join(
        letter if letter == "\t" or letter.isprintable() else f"\\x{ord(letter):02x}"
        for letter in text
    )
