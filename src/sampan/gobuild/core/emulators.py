"""Which processor of QEMU stands for a device.

Source: the processors of qemu-user 7.2 and newer; where it has not the very core, an older one of
the same level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.base.record import record

__all__ = ["EMULATORS", "Model", "model_of"]

EMULATORS: Final[Mapping[str, str]] = {
    "386": "i386",
    "amd64": "x86_64",
    "arm": "arm",
    "arm64": "aarch64",
    "loong64": "loongarch64",
    "mips": "mips",
    "mips64": "mips64",
    "mips64le": "mips64el",
    "mipsle": "mipsel",
    "ppc64": "ppc64",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""The part of an emulator's name, `qemu-arm`, by GOARCH."""


@record
class Model:
    """An emulator and its processor; `exact` when it is the core of the device."""

    emulator: str
    processor: str
    exact: bool = True


_MODELS: Final[Mapping[tuple[str, str], tuple[str, bool]]] = {
    ("armv5", "arm"): ("arm926", True),
    ("pi-zero", "arm"): ("arm1176", True),
    ("pi-2", "arm"): ("cortex-a7", True),
    ("pi-3", "arm"): ("cortex-a7", False),
    ("pi-3", "arm64"): ("cortex-a53", True),
    ("pi-4", "arm"): ("cortex-a7", False),
    ("pi-4", "arm64"): ("cortex-a72", True),
    ("pi-5", "arm"): ("cortex-a7", False),
    ("pi-5", "arm64"): ("cortex-a76", True),
    ("graviton2", "arm64"): ("neoverse-n1", True),
    ("graviton3", "arm64"): ("max,sve-max-vq=2", False),
    ("graviton4", "arm64"): ("max,sve-max-vq=1", False),
    ("kunpeng-920", "arm64"): ("neoverse-n1", False),
    ("phytium-d2000", "arm64"): ("cortex-a72", False),
    ("x86-64-v1", "386"): ("qemu32", False),
    ("x86-64-v1", "amd64"): ("qemu64", True),
    ("x86-64-v2", "amd64"): ("Nehalem", True),
    ("x86-64-v3", "amd64"): ("Haswell", True),
    ("visionfive-2", "riscv64"): ("rv64,zbc=off,zbs=off", False),
}


def model_of(device: str, goarch: str) -> Model | None:
    """Return what stands for a device when it runs code of an architecture; None without."""
    found = _MODELS.get((device, goarch))
    return Model(EMULATORS[goarch], *found) if found else None
