"""Options of the local volume driver: `type`, `o` and `device`, as mount(8) has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError

__all__ = ["VolumeMount", "check_volume_options", "volume_mount"]

_KNOWN: Final = ("type", "o", "device", "size")
_FLAGS: Final = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "sync": 0x10,
    "dirsync": 0x80,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "bind": 0x1000,
    "rbind": 0x5000,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
    "lazytime": 1 << 25,
}
_SAY_NOTHING: Final = frozenset(
    "defaults rw suid dev exec async atime diratime norelatime nostrictatime _netdev".split()
)


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """What is mounted at a volume's place: the arguments of mount(2)."""

    kind: str
    device: str
    flags: int
    data: str


def check_volume_options(name: str, options: Mapping[str, str]) -> None:
    """Refuse options that the driver does not know or needs, in Docker's words."""
    for key in options:
        if key not in _KNOWN:
            raise InvalidError(f'create {name}: invalid option: "{key}"')
    if "size" in options:
        raise InvalidError(f"create {name}: quota size requested but no quota support")
    if options:
        for key in ("device", "type"):
            if key not in options:
                raise InvalidError(f'create {name}: missing required option: "{key}"')


def volume_mount(options: Mapping[str, str] | None) -> VolumeMount | None:
    """Return what is to be mounted, None for a volume that is a plain directory."""
    if not options or not options.get("device"):
        return None
    flags, data = 0, list[str]()
    for word in options.get("o", "").split(","):
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word and word not in _SAY_NOTHING:
            data.append(word)
    return VolumeMount(options.get("type", ""), options["device"], flags, ",".join(data))
