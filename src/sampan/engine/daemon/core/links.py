"""Old-style links between containers: `name:alias`."""

from __future__ import annotations

from sampan.base.errors import InvalidError

__all__ = ["parse_link"]


def parse_link(text: str) -> tuple[str, str]:
    """Return the other container's name and the name that it has here; InvalidError otherwise."""
    if not text:
        raise InvalidError("empty string specified for links")
    parts = text.split(":")
    if len(parts) > 2:
        raise InvalidError(f"bad format for links: {text}")
    name = parts[0]
    alias = parts[1] if len(parts) == 2 else name
    # `/first:/second/alias` is how an inspection shows a link.
    return name.removeprefix("/"), alias.rpartition("/")[2]
