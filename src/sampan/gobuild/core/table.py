"""The reference table: every combination of GOOS, GOARCH, level and CGO_ENABLED, and its fate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sampan.base.errors import InvalidError
from sampan.base.nearest import nearest
from sampan.base.record import record
from sampan.gobuild.core.behaviour import behaviour, minimum_system
from sampan.gobuild.core.devices import DEVICES, refusal
from sampan.gobuild.core.levels import LEVELS, implies_lse, level_problem, steps
from sampan.gobuild.core.platforms import Selection

__all__ = ["RISKS", "Port", "Release", "Row", "rows"]


@record
class Port:
    """A line of `go tool dist list -json`."""

    goos: str
    goarch: str
    cgo_supported: bool
    first_class: bool


@record
class Release:
    """The ports of one Go release, `1.26`."""

    version: str
    ports: tuple[Port, ...]

    @property
    def minor(self) -> int:
        """The number behind `1.`."""
        return int(self.version.split(".")[1])


@record
class Row:
    """One combination. `obstacle` says why it does not compile; empty when it does.

    `toolchain` is the C toolchain that cgo code needs, `risk` one of RISKS for the `reason`,
    `devices` the names of the known machines that run its code.
    """

    goos: str
    goarch: str
    variable: str
    level: str
    default_level: bool
    cgo: bool
    first_class: bool
    obstacle: str
    toolchain: str
    linking: str
    dns: str
    users: str
    zones: str
    certificates: str
    risk: str
    reason: str
    minimum: str
    devices: tuple[str, ...]


RISKS: Final[Mapping[str, str]] = {
    "L1": "runs on every machine of the platform",
    "L2": "fails on some machines or images, with a message, or only for some code",
    "L3": "dies on machines in common use: illegal instruction, no start, or a crash",
}
_NDK: Final = "the Android NDK's clang"
_COMPILERS: Final[Mapping[str, str]] = {
    "android": _NDK,
    "darwin": "Apple's clang with the macOS SDK",
    "ios": "Apple's clang with the iOS SDK",
    "windows": "a MinGW-w64 gcc or llvm-mingw clang",
}
_TRIPLES: Final[Mapping[str, str]] = {
    "386": "i686-linux-gnu",
    "amd64": "x86_64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "arm64": "aarch64-linux-gnu",
    "loong64": "loongarch64-linux-gnu",
    "mips": "mips-linux-gnu",
    "mips64": "mips64-linux-gnuabi64",
    "mips64le": "mips64el-linux-gnuabi64",
    "mipsle": "mipsel-linux-gnu",
    "ppc64": "powerpc64-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
}


def rows(release: Release, selection: Selection) -> Iterator[Row]:
    """Yield the rows of a release that a selection wants; InvalidError when its names are wrong."""
    _check(release, selection)
    for port in release.ports:
        if selection.goos not in ("", port.goos) or selection.goarch not in ("", port.goarch):
            continue
        for level in steps(port.goarch):
            if port.goarch == "riscv64" and level == "rva23u64" and release.minor < 25:
                continue
            if selection.level and level != selection.level:
                continue
            for cgo in (False, True):
                if selection.cgo in (None, cgo):
                    yield _row(release, port, level, cgo)


def _check(release: Release, selection: Selection) -> None:
    systems = sorted({port.goos for port in release.ports})
    machines = sorted({port.goarch for port in release.ports})
    for name, value, known in (
        ("GOOS", selection.goos, systems),
        ("GOARCH", selection.goarch, machines),
    ):
        if value and value not in known:
            guess = nearest(value, known)
            hint = f" (did you mean {guess}?)" if guess else ""
            raise InvalidError(f"Go {release.version} has no {name} {value!r}{hint}")
    if selection.goos and selection.goarch:
        if not any((p.goos, p.goarch) == (selection.goos, selection.goarch) for p in release.ports):
            raise InvalidError(f"Go {release.version} has no {selection.goos}/{selection.goarch}")
    if selection.level and selection.goarch:
        if problem := level_problem(selection.goarch, selection.level):
            raise InvalidError(problem)


def _row(release: Release, port: Port, level: str, cgo: bool) -> Row:
    how = behaviour(port.goos, cgo)
    known = LEVELS.get(port.goarch)
    risk, reason = _risk(port, level, cgo)
    return Row(
        port.goos,
        port.goarch,
        known.variable if known else "",
        level,
        known is None or level == known.default,
        cgo,
        port.first_class,
        _obstacle(port, cgo),
        _toolchain(port, level) if cgo and port.cgo_supported else "",
        how.linking,
        how.dns,
        how.users,
        how.zones,
        how.certificates,
        risk,
        reason,
        minimum_system(port.goos, port.goarch, release.minor),
        tuple(
            device.name
            for device in DEVICES
            if refusal(device, port.goos, port.goarch, level) is None
        ),
    )


def _obstacle(port: Port, cgo: bool) -> str:
    if cgo and not port.cgo_supported:
        return "cgo is not supported on this platform"
    external = (port.goos == "android" and port.goarch != "arm64") or (
        port.goos == "ios" and port.goarch == "arm64"
    )
    if external and not cgo:
        return "requires external linking, so CGO_ENABLED=1 and a C toolchain"
    return ""


def _toolchain(port: Port, level: str) -> str:
    if port.goos in _COMPILERS:
        return _COMPILERS[port.goos]
    if port.goos != "linux":
        return f"a C compiler of {port.goos}, or clang with its sysroot"
    triple = _TRIPLES.get(port.goarch, port.goarch)
    if port.goarch == "arm" and (level.split(",")[0] == "5" or "softfloat" in level):
        triple = "arm-linux-gnueabi"
    return f"{triple}-gcc"


def _risk(port: Port, level: str, cgo: bool) -> tuple[str, str]:
    """The worst of what the level, the word size and cgo bring."""
    found = [("L1", "nothing beyond the platform itself")]
    known = LEVELS.get(port.goarch)
    base = level.split(",")[0]
    if port.goarch == "arm64" and port.goos in ("linux", "freebsd", "netbsd", "openbsd"):
        if implies_lse(level):
            found.append(
                ("L3", "LSE atomics: no start, or SIGILL, on Cortex-A53, A57 and A72 (Pi 3 and 4)")
            )
        elif "crypto" in level.split(","):
            found.append(("L3", "cryptographic instructions: SIGILL on Raspberry Pi 3 and 4"))
    elif port.goarch == "arm64" and port.goos == "windows" and implies_lse(level):
        found.append(("L3", "LSE atomics: crash on Snapdragon 835 and 850"))
    elif port.goos == "android":
        pass
    elif port.goarch == "arm" and base == "7":
        found.append(("L3", "GOARM=7: SIGILL on ARMv6 (Raspberry Pi 1 and Zero) and older"))
    elif port.goarch == "arm" and base == "6":
        found.append(("L2", "GOARM=6: SIGILL on ARMv5 boards without VFP"))
    elif known and len(known.values) > 1 and base in known.values[1:] and "float" not in base:
        found.append(("L2", f"{known.variable}={base}: refuses to start, or SIGILL, below {base}"))
    if port.goarch in ("386", "arm", "mips", "mipsle"):
        found.append(
            (
                "L2",
                "32 bits: a misaligned 64-bit value given to sync/atomic panics; use atomic.Int64",
            )
        )
    if cgo and port.cgo_supported and port.goos == "linux":
        found.append(
            (
                "L2",
                "with cgo code: needs the loader and at least the libc it was built with; "
                "'no such file' on alpine and scratch",
            )
        )
    worst = max(risk for risk, _ in found)
    return worst, "; ".join(reason for risk, reason in found if risk == worst)
