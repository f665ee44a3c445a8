"""What a power cut leaves of a data directory: everything flushed, and any part of the rest."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from sampan.store.core.wal import HEADER_BYTES

__all__ = ["cut_power", "flushed"]

SECTOR_BYTES: Final = 512


def flushed(trace: Path) -> dict[Path, int]:
    """The offset up to which each file was flushed, by the trace of a server that was killed."""
    ends: dict[Path, int] = {}
    if trace.exists():
        for line in trace.read_text().splitlines():
            path, _, end = line.partition("\t")
            if end:
                ends[Path(path)] = max(int(end), ends.get(Path(path), 0))
    return ends


def cut_power(data_dir: Path, trace: Path, dice: random.Random) -> str:
    """Drop what was never flushed from the newest segment; returns what was done.

    The unflushed bytes are lost whole, torn after a random byte, or survive in random sectors.
    """
    segments = sorted(data_dir.rglob("*.wal"))
    if not segments:
        return "no log yet"
    newest = segments[-1]
    end = flushed(trace).get(newest, HEADER_BYTES)  # the header is flushed before its first use
    content = bytearray(newest.read_bytes())
    rest = bytes(content[end:])
    used = len(rest.rstrip(b"\0"))
    how = dice.choice(["lost", "torn", "sectors"])
    survived = bytearray(len(rest))
    if how == "torn" and used:
        kept = dice.randrange(used)
        survived[:kept] = rest[:kept]
    elif how == "sectors":
        for start in range(0, used, SECTOR_BYTES):
            if dice.random() < 0.5:
                survived[start : start + SECTOR_BYTES] = rest[start : start + SECTOR_BYTES]
    content[end:] = survived
    newest.write_bytes(content)
    return f"{how}: {used} bytes after {end} of {newest.name}"
