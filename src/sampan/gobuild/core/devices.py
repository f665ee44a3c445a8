"""Machines that people ship Go programs to, and what their processors can do.

Sources: the makers' data sheets and Arm's reference manuals of the cores named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.levels import LEVELS, arm64_version, implies_lse

__all__ = ["DEVICES", "Device", "refusal"]


@record
class Device:
    """A machine: its highest level by GOARCH, and the largest page its usual kernels have."""

    name: str
    title: str
    systems: tuple[str, ...]
    levels: Mapping[str, str]
    page_kib: int = 4


_PI: Final = ("linux", "freebsd", "netbsd", "openbsd")
_LINUX: Final = ("linux",)

DEVICES: Final = (
    Device("armv5", "ARMv5 board (ARM926, no VFP)", _LINUX, {"arm": "5"}),
    Device("pi-zero", "Raspberry Pi 1, Zero, Zero W (ARM1176)", _PI, {"arm": "6"}),
    Device("pi-2", "Raspberry Pi 2 (Cortex-A7)", _PI, {"arm": "7"}),
    Device("pi-3", "Raspberry Pi 3, Zero 2 W (Cortex-A53)", _PI, {"arm": "7", "arm64": "v8.0"}),
    Device("pi-4", "Raspberry Pi 4 (Cortex-A72)", _PI, {"arm": "7", "arm64": "v8.0"}),
    Device(
        "pi-5", "Raspberry Pi 5 (Cortex-A76)", _PI, {"arm": "7", "arm64": "v8.2,lse,crypto"}, 16
    ),
    Device("graviton2", "AWS Graviton2 (Neoverse N1)", _LINUX, {"arm64": "v8.2,lse,crypto"}, 64),
    Device("graviton3", "AWS Graviton3 (Neoverse V1)", _LINUX, {"arm64": "v8.4,lse,crypto"}, 64),
    Device("graviton4", "AWS Graviton4 (Neoverse V2)", _LINUX, {"arm64": "v9.0,lse,crypto"}, 64),
    Device("kunpeng-920", "Kunpeng 920 (TSV110)", _LINUX, {"arm64": "v8.2,lse,crypto"}, 64),
    Device("phytium-d2000", "Phytium D2000 (FTC663)", _LINUX, {"arm64": "v8.0,crypto"}, 64),
    Device(
        "apple-silicon",
        "Apple M1 and newer",
        ("darwin", "ios"),
        {"arm64": "v8.4,lse,crypto", "amd64": "v1"},
        16,
    ),
    Device(
        "windows-arm",
        "Windows on ARM (Snapdragon 835 and newer; Windows 11 for amd64)",
        ("windows",),
        {"arm64": "v8.0,crypto", "386": "sse2", "amd64": "v1"},
    ),
    Device("x86-64-v1", "Any x86-64", ("linux", "windows"), {"amd64": "v1", "386": "sse2"}),
    Device("x86-64-v2", "x86-64 of 2009 and newer", ("linux", "windows"), {"amd64": "v2"}),
    Device("x86-64-v3", "Haswell, Zen and newer", ("linux", "windows"), {"amd64": "v3"}),
    Device("x86-64-v4", "Servers with AVX-512", ("linux", "windows"), {"amd64": "v4"}),
    Device("visionfive-2", "VisionFive 2 (SiFive U74)", _LINUX, {"riscv64": "rva20u64"}),
)


def refusal(device: Device, goos: str, goarch: str, level: str) -> str | None:
    """Return why code of a target does not run on a device, None when it does.

    An empty or unknown level counts as the architecture's default.
    """
    if goos not in device.systems:
        return f"does not run {goos}"
    if goarch not in device.levels:
        return f"does not run {goarch} code"
    known = LEVELS.get(goarch)
    if known is None:
        return None
    has = device.levels[goarch]
    base = level.split(",")[0]
    if base not in known.values:
        base, level = known.default, known.default
    if goarch == "arm64":
        return _arm64_refusal(has, level)
    if goarch == "arm" and has == "5" and level in ("5,hardfloat", "6", "7"):
        return "has no floating point hardware"
    if goarch in ("386", "mips", "mipsle", "mips64", "mips64le"):
        return None
    order = known.values
    if order.index(base) > order.index(has):
        return f"{known.variable}={base} is above its {has}"
    return None


def _arm64_refusal(has: str, level: str) -> str | None:
    if arm64_version(level) > arm64_version(has):
        return f"GOARM64={level} is above its {has.split(',')[0]}"
    if implies_lse(level) and not implies_lse(has):
        return "has no LSE atomics"
    if "crypto" in level.split(",") and "crypto" not in has.split(","):
        return "has no cryptographic instructions"
    return None
