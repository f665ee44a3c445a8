"""Platforms: what an image runs on, and which of an index's images is the best for a machine.

Source: OCI image index, "platform"; the order of preference is containerd's, without 386 on amd64.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = ["Platform", "machine_platform", "parse_platform", "platform_of", "preferences"]

_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")
_SYSTEMS: Final = {"macos": "darwin"}
_MACHINES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
}
_KNOWN_SYSTEMS: Final = frozenset(
    "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris "
    "wasip1 windows".split()
)


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system on a machine. `variant` is empty where it is the usual one."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part)

    @property
    def document(self) -> dict[str, Any]:
        """The platform as descriptors have it."""
        found: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            found["variant"] = self.variant
        if self.os_version:
            found["os.version"] = self.os_version
        if self.os_features:
            found["os.features"] = list(self.os_features)
        return found


def _normal(system: str, machine: str, variant: str) -> tuple[str, str, str]:
    system, machine, variant = system.lower(), machine.lower(), variant.lower()
    system = _SYSTEMS.get(system, system)
    machine, implied = _MACHINES.get(machine, (machine, ""))
    variant = variant or implied
    if variant and variant[0].isdigit() and machine in ("arm", "arm64", "amd64"):
        variant = "v" + variant
    if (machine, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    if machine == "arm" and not variant:
        variant = "v7"
    return system, machine, variant


def machine_platform(machine: str) -> Platform:
    """Return Linux on a machine as `uname -m` names it."""
    return Platform(*_normal("linux", machine, ""))


def parse_platform(text: str, machine: Platform) -> Platform:
    """Return the platform of `os[/arch[/variant]]` or of `arch`; the rest is the machine's.

    Raises InvalidError with Docker's words.
    """
    parts = text.split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidError(
            f'"{text}": invalid platform: platform specifier must be of the form '
            "<os>/<arch>[/<variant>]"
        )
    if len(parts) == 1:
        word = _SYSTEMS.get(parts[0].lower(), parts[0].lower())
        if word in _KNOWN_SYSTEMS:
            return Platform(word, machine.architecture, machine.variant)
        _, architecture, variant = _normal("", word, "")
        known = {one for one, _ in _MACHINES.values()}
        if architecture not in known | {"ppc64le", "s390x", "riscv64", "mips64le", "wasm"}:
            raise InvalidError(f'"{text}": unknown operating system or architecture')
        return Platform(machine.os, architecture, variant)
    return Platform(*_normal(parts[0], parts[1], parts[2] if len(parts) == 3 else ""))


def platform_of(document: object) -> Platform | None:
    """Return the platform in a descriptor or a configuration, None where none is told."""
    if not isinstance(document, Mapping):
        return None
    system, machine = document.get("os"), document.get("architecture")
    if not isinstance(system, str) or not isinstance(machine, str) or not (system and machine):
        return None
    features = document.get("os.features")
    return Platform(
        *_normal(system, machine, str(document.get("variant") or "")),
        os_version=str(document.get("os.version") or ""),
        os_features=tuple(map(str, features)) if isinstance(features, list) else (),
    )


def _accepted(wanted: Platform) -> list[tuple[str, str]]:
    """Return architectures and variants that do, best first."""
    machine, variant = wanted.architecture, wanted.variant
    number = int(variant[1:]) if re.fullmatch(r"v\d{1,2}", variant) else 0
    if machine == "arm" and number:
        return [("arm", f"v{one}") for one in range(number, 4, -1)] or [(machine, variant)]
    if machine == "amd64" and number:
        return [*(("amd64", f"v{one}") for one in range(number, 1, -1)), ("amd64", "")]
    if machine == "arm64" and number == 9:
        return [("arm64", "v9"), ("arm64", "")]
    if machine == "arm64" and not variant:
        return [("arm64", ""), *(("arm", f"v{one}") for one in range(8, 4, -1))]
    return [(machine, variant)]


def preferences(wanted: Platform, offered: Sequence[Platform | None]) -> list[int]:
    """Return the positions of the platforms that do for the one wanted, the best first.

    One that is not told comes last; of equals the first offered comes first.
    """
    accepted = _accepted(wanted)
    found: list[tuple[int, int]] = []
    for at, one in enumerate(offered):
        if one is None:
            found.append((len(accepted), at))
        elif one.os == wanted.os and (one.architecture, one.variant) in accepted:
            if not wanted.os_version or one.os_version in ("", wanted.os_version):
                found.append((accepted.index((one.architecture, one.variant)), at))
    return [at for _, at in sorted(found)]
