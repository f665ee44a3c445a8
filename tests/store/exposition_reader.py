"""A strict reader of Prometheus' text format, written from its specification."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["ReadFamily", "read_exposition"]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL})(?:,{_LABEL})*)\}})? (\S+)")
_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


@dataclass
class ReadFamily:
    """One metric; samples by (name, labels as written)."""

    name: str
    type: str
    help: str
    samples: dict[tuple[str, str], float] = field(default_factory=dict)


def read_exposition(text: str) -> dict[str, ReadFamily]:
    """Return the families by name. Raises ValueError for anything the format does not allow."""
    families: dict[str, ReadFamily] = {}
    current: ReadFamily | None = None
    pending_help: tuple[str, str] | None = None
    if not text.endswith("\n"):
        raise ValueError("the last line must end with a newline")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, help_text = line.removeprefix("# HELP ").partition(" ")
            pending_help = (name, help_text)
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            if pending_help is None or pending_help[0] != name or kind not in _TYPES:
                raise ValueError(line)
            if name in families:
                raise ValueError(f"{name} comes twice")
            current = families[name] = ReadFamily(name, kind, pending_help[1])
        else:
            match = _SAMPLE.fullmatch(line)
            if match is None or current is None:
                raise ValueError(line)
            suffix = match[1].removeprefix(current.name)
            if match[1] == suffix or suffix not in _SUFFIXES.get(current.type, ("",)):
                raise ValueError(f"{line} does not belong to {current.name}")
            key = (match[1], match[2] or "")
            if key in current.samples:
                raise ValueError(f"{line} comes twice")
            current.samples[key] = float(match[3])
    for family in families.values():
        if family.type == "histogram":
            _check_histogram(family)
    return families


def _check_histogram(family: ReadFamily) -> None:
    buckets = [
        (float(labels.removeprefix('le="').removesuffix('"')), count)
        for (name, labels), count in family.samples.items()
        if name.endswith("_bucket")
    ]
    counts = [count for _, count in buckets]
    if buckets != sorted(buckets) or counts != sorted(counts):
        raise ValueError(f"{family.name}: buckets must ascend")
    if buckets[-1] != (float("inf"), family.samples[family.name + "_count", ""]):
        raise ValueError(f"{family.name}: the last bucket must hold all")
