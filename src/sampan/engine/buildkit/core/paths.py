"""Which files of a context a build needs, as patterns that a client's walk understands."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from sampan.images.core.build.steps import ContextFiles, CopyStep, RunStep, Step

__all__ = ["context_patterns", "exclude_patterns", "wanted_paths"]

_MAGIC = frozenset("*?[\\")


def context_patterns(steps: Iterable[Step]) -> dict[str, list[str]]:
    """Return the sources that steps take of each context, by its name ("" is the main one)."""
    found: dict[str, list[str]] = {}
    for step in steps:
        if isinstance(step, CopyStep):
            for source in step.sources:
                if isinstance(source, ContextFiles):
                    found.setdefault(source.context, []).extend(source.patterns)
        elif isinstance(step, RunStep):
            for mount in step.mounts:
                if mount.type == "bind" and mount.source is None:
                    found.setdefault(mount.context, []).append(mount.path)
    return found


def wanted_paths(patterns: Iterable[str]) -> list[str]:
    """Return the paths to ask for, none at all when everything is wanted.

    A wildcard is left to the client in the last part of a path only; before that, and for `**`,
    the directory above it is asked for as a whole.
    """
    found = set()
    for pattern in patterns:
        parts = posixpath.normpath("/" + pattern).strip("/").split("/")
        plain = []
        for at, part in enumerate(parts):
            if _MAGIC & set(part) and (at < len(parts) - 1 or "**" in part):
                break
            plain.append(part)
        path = "/".join(plain)
        if not path:
            return []
        found.add(path)
    return sorted(found)


def exclude_patterns(text: str) -> list[str]:
    """Return the patterns of a `.dockerignore` one by one, comments and empty lines left out."""
    found = []
    for line in text.removeprefix("\ufeff").splitlines():
        word = line.strip()
        if not word or line.startswith("#"):
            continue
        takes_back = word.startswith("!")
        path = posixpath.normpath("/" + word.removeprefix("!").strip()).lstrip("/")
        if path:
            found.append(f"!{path}" if takes_back else path)
    return found
