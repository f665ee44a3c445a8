"""The data that ships with the Go doctor: the ports of every supported Go release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidError
from sampan.gobuild.core.table import Port, Release

__all__ = ["DATA", "load_releases", "release_named"]

DATA: Final = Path(__file__).parent.parent / "data" / "targets.json"


def load_releases() -> dict[str, Release]:
    """Return the releases known, oldest first, by version without the patch number."""
    found = json.loads(DATA.read_text(encoding="ascii"))
    return {
        version: Release(
            version,
            tuple(
                Port(goos, goarch, "cgo" in marks, "first-class" in marks)
                for goos, goarch, *marks in ports
            ),
        )
        for version, ports in found["releases"].items()
    }


def release_named(version: str = "") -> Release:
    """Return a release by `1.26`, `1.26.3` or `go1.26`; the newest one when nothing is said."""
    known = load_releases()
    if not version:
        return list(known.values())[-1]
    wanted = ".".join(version.removeprefix("go").split(".")[:2])
    if wanted not in known:
        raise InvalidError(f"Go {version!r} is not known here: there is {', '.join(known)}")
    return known[wanted]
