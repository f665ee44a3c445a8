"""The instruction set levels of Go's architectures: GOARM, GOARM64, GOAMD64 and their kin.

Go builds with some values that do not exist (`GOAMD64=v5`), records them in the binary and
generates the code of the default. So values are checked here.

Source: `go help environment`, internal/buildcfg of Go 1.24 to 1.27.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from sampan.base.record import record

__all__ = [
    "LEVELS",
    "LEVEL_OPTIONS",
    "LevelSetting",
    "arm64_version",
    "implies_lse",
    "level_problem",
    "steps",
]


@record
class LevelSetting:
    """One level variable: its default, its values in order, and what may follow behind commas."""

    variable: str
    default: str
    values: tuple[str, ...]
    options: tuple[str, ...] = ()


_FLOAT: Final = ("hardfloat", "softfloat")
_ARM64: Final = (*(f"v8.{n}" for n in range(10)), *(f"v9.{n}" for n in range(6)))

LEVELS: Final[Mapping[str, LevelSetting]] = {
    "386": LevelSetting("GO386", "sse2", ("sse2", "softfloat")),
    "amd64": LevelSetting("GOAMD64", "v1", ("v1", "v2", "v3", "v4")),
    "arm": LevelSetting("GOARM", "7", ("5", "6", "7"), _FLOAT),
    "arm64": LevelSetting("GOARM64", "v8.0", _ARM64, ("lse", "crypto")),
    "mips": LevelSetting("GOMIPS", "hardfloat", _FLOAT),
    "mipsle": LevelSetting("GOMIPS", "hardfloat", _FLOAT),
    "mips64": LevelSetting("GOMIPS64", "hardfloat", _FLOAT),
    "mips64le": LevelSetting("GOMIPS64", "hardfloat", _FLOAT),
    "ppc64": LevelSetting("GOPPC64", "power8", ("power8", "power9", "power10")),
    "ppc64le": LevelSetting("GOPPC64", "power8", ("power8", "power9", "power10")),
    "riscv64": LevelSetting("GORISCV64", "rva20u64", ("rva20u64", "rva22u64", "rva23u64")),
}
"""By GOARCH; an architecture without an entry has no level."""
LEVEL_OPTIONS: Final = tuple(sorted({option for one in LEVELS.values() for option in one.options}))
"""All that may follow a level behind a comma."""


def level_problem(goarch: str, value: str) -> str | None:
    """Return what is wrong with `value` as the level of `goarch`, None when nothing is."""
    known = LEVELS.get(goarch)
    if known is None:
        return f"{goarch} has no level"
    base, *options = value.split(",")
    if base not in known.values:
        allowed = ", ".join(known.values)
        return f"{known.variable}={value} does not exist: the values are {allowed}"
    if extra := [one for one in options if one not in known.options]:
        allowed = ", ".join(known.options) or "nothing"
        return f"{known.variable}={value}: {extra[0]!r} is no option: {allowed} may follow {base}"
    if goarch == "arm" and len(options) > 1:
        return f"{known.variable}={value}: hardfloat and softfloat exclude each other"
    if len(set(options)) != len(options):
        return f"{known.variable}={value} says the same twice"
    return None


def steps(goarch: str) -> Iterator[str]:
    """Yield every level of an architecture, options included; one empty text when it has none."""
    known = LEVELS.get(goarch)
    if known is None:
        yield ""
        return
    for value in known.values:
        yield value
        if goarch == "arm":
            # What is not said: 5 means softfloat, 6 and 7 hardfloat.
            yield f"{value},{'hardfloat' if value == '5' else 'softfloat'}"
        elif goarch == "arm64":
            for extra in (",lse", ",crypto", ",lse,crypto"):
                if "lse" not in extra or not implies_lse(value):
                    yield value + extra


def arm64_version(level: str) -> int:
    """Return the minor version of v8 that a GOARM64 value asks for; v9.0 counts as v8.5."""
    match = re.match(r"v([89])\.([0-9])", level)
    if match is None:
        return 0
    return int(match[2]) + (5 if match[1] == "9" else 0)


def implies_lse(level: str) -> bool:
    """Tell whether code of a GOARM64 value uses atomic instructions of LSE without asking."""
    return arm64_version(level) >= 1 or "lse" in level.split(",")
