"""A matrix of targets as environments for `go build`: validated before anything is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sampan.base.errors import InvalidError
from sampan.base.record import record
from sampan.gobuild.core.levels import LEVEL_OPTIONS, LEVELS, arm64_version, implies_lse
from sampan.gobuild.core.platforms import parse_selection
from sampan.gobuild.core.table import Release, Row, rows
from sampan.gobuild.core.targetlist import split_list

__all__ = [
    "CGO_MODES",
    "Cell",
    "cell_environment",
    "gcc_of",
    "plan_cells",
    "proving_device",
    "split_targets",
    "zig_target",
]

CGO_MODES: Final = ("auto", "off", "zig", "gcc")
_ZIG: Final[Mapping[str, str]] = {
    "386": "x86",
    "amd64": "x86_64",
    "arm": "arm",
    "arm64": "aarch64",
    "loong64": "loongarch64",
    "mips": "mips",
    "mips64": "mips64",
    "mips64le": "mips64el",
    "mipsle": "mipsel",
    "ppc64le": "powerpc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
_OLDEST: Final[Mapping[tuple[str, str], str]] = {
    ("arm", "5"): "armv5",
    ("arm", "6"): "pi-zero",
    ("arm", "7"): "pi-2",
    ("amd64", "v1"): "x86-64-v1",
    ("amd64", "v2"): "x86-64-v2",
    ("amd64", "v3"): "x86-64-v3",
    ("riscv64", "rva20u64"): "visionfive-2",
}


@record
class Cell:
    """One target of the matrix: what is asked of Go, and the name of what comes out."""

    platform: str
    row: Row
    file: str


def plan_cells(targets: Sequence[str], name: str, release: Release, cgo: bool) -> list[Cell]:
    """Return the cells of `linux/arm64`, `linux/arm/v7`...; InvalidError for what cannot exist."""
    found: dict[str, Cell] = {}
    for target in targets:
        selection = parse_selection(target.strip(), cgo)
        if not selection.goos or not selection.goarch:
            raise InvalidError(f"{target!r} is no target: write GOOS/GOARCH or GOOS/GOARCH/LEVEL")
        listed = list(rows(release, selection))
        row = next((one for one in listed if selection.level or one.default_level), None)
        if row is None:
            raise InvalidError(f"{target}: no such target")
        if row.obstacle:
            raise InvalidError(f"{target}: {row.obstacle}")
        level = f"-{row.level.replace(',', '-')}" if selection.level else ""
        ending = ".exe" if row.goos == "windows" else ".wasm" if row.goarch == "wasm" else ""
        file = f"{name}-{row.goos}-{row.goarch}{level}{ending}"
        found[file] = Cell(target.strip(), row, file)
    return list(found.values())


def split_targets(text: str) -> list[str]:
    """Return the targets of a list; an option behind a comma belongs to the level before it."""
    return split_list(text, LEVEL_OPTIONS)


def zig_target(row: Row, glibc: str = "") -> str:
    """Return what `zig cc -target` takes; InvalidError where zig has no libc for it."""
    machine = _ZIG.get(row.goarch)
    if machine is None or row.goos not in ("linux", "windows"):
        raise InvalidError(f"zig brings no C library for {row.goos}/{row.goarch}")
    if row.goos == "windows":
        return f"{machine}-windows-gnu"
    libc = "gnu" if glibc else "musl"
    if row.goarch == "arm":
        soft = row.level.startswith("5") or "softfloat" in row.level
        libc += "eabi" if soft else "eabihf"
    return f"{machine}-linux-{libc}" + (f".{glibc}" if glibc else "")


def gcc_of(row: Row) -> tuple[str, str]:
    """Return the command and Debian's package of a cross gcc; InvalidError without one."""
    if row.goos == "windows" and row.goarch in ("386", "amd64"):
        machine = "i686" if row.goarch == "386" else "x86_64"
        return f"{machine}-w64-mingw32-gcc", "gcc-mingw-w64"
    if row.goos != "linux" or not row.toolchain.endswith("-gcc"):
        raise InvalidError(f"Debian has no cross gcc for {row.goos}/{row.goarch}")
    # Names of packages have dashes where triples have underscores.
    return row.toolchain, f"gcc-{row.toolchain.removesuffix('-gcc').replace('_', '-')}"


def cell_environment(cell: Cell, compiler: str = "", cxx: str = "") -> dict[str, str]:
    """Return the variables for `go build`: all that decide, so that none comes from outside."""
    row = cell.row
    found = {one.variable: "" for one in LEVELS.values()}
    found |= {"GOOS": row.goos, "GOARCH": row.goarch, "CGO_ENABLED": str(int(row.cgo))}
    if row.variable:
        found[row.variable] = row.level
    if compiler:
        found |= {"CC": compiler, "CXX": cxx or compiler}
    return found


def proving_device(row: Row) -> str:
    """Return the oldest device that must run a target, empty when none can be emulated."""
    if row.goos != "linux":
        return ""
    if row.goarch == "arm64":
        if arm64_version(row.level) > 2:
            return ""
        return "graviton2" if implies_lse(row.level) or "crypto" in row.level else "pi-3"
    return _OLDEST.get((row.goarch, row.level.split(",")[0]), "")
