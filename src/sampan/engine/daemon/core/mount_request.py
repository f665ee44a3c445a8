"""What a client asks to have mounted: `Binds`, `Mounts`, `VolumesFrom`, read in Docker's words."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError, UnsupportedError

__all__ = ["MountRequest", "check_tmpfs", "parse_bind", "parse_mount", "parse_volumes_from"]

_MODES: Final[tuple[frozenset[str], ...]] = (
    frozenset(("ro", "rw")),
    frozenset(("z", "Z")),
    frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave")),
    frozenset(("nocopy", "copy")),
    frozenset(("consistent", "cached", "delegated", "default")),
)
"""Of each group a mode may have one word."""

_PROPAGATIONS: Final = _MODES[2]
_TMPFS_VALUES: Final = frozenset("size mode uid gid nr_inodes nr_blocks mpol".split())
_TMPFS_FLAGS: Final = frozenset(
    "defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime "
    "noatime diratime nodiratime relatime norelatime strictatime nostrictatime".split()
)


@dataclass(frozen=True, slots=True)
class MountRequest:
    """One thing to mount. `source` is a path (bind), a volume's name, or empty."""

    kind: str
    source: str
    destination: str
    writable: bool = True
    mode: str = ""
    propagation: str = ""
    recursive: bool = True
    read_only_recursive: bool = True
    """A read-only bind is read-only below its own mounts too, where the kernel can do it."""

    force_recursive: bool = False
    create_source: bool = False
    missing_source_allowed: bool = False
    copy: bool = True
    subpath: str = ""
    driver: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tmpfs_options: tuple[str, ...] = ()


def _valid_mode(mode: str) -> bool:
    words = mode.split(",") if mode else []
    groups = [next((n for n, group in enumerate(_MODES) if word in group), -1) for word in words]
    return -1 not in groups and len(set(groups)) == len(groups)


def _path_error(path: str) -> str | None:
    if not path.startswith("/"):
        return f"invalid mount path: '{path}' mount path must be absolute"
    return None


def _target_error(path: str) -> str | None:
    if not path:
        return "field Target must not be empty"
    if posixpath.normpath(path).lstrip("/") == "" and path.startswith("/"):
        return "invalid specification: destination can't be '/'"
    return _path_error(path)


def parse_bind(text: str, volume_driver: str) -> MountRequest | None:
    """Read `source:destination[:mode]`; None for a bare path, which is an anonymous volume's."""
    invalid = f"invalid volume specification: '{text}'"
    parts = text.split(":", 3)
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and _valid_mode(parts[1])):
        raise InvalidError(invalid)
    mode = parts[2] if len(parts) == 3 else ""
    if not _valid_mode(mode):
        raise InvalidError(f"invalid mode: {mode}")
    if len(parts) == 1:
        return None
    source, destination, words = parts[0], parts[1], mode.split(",")
    kind = "bind" if source.startswith("/") else "volume"
    reason = _target_error(destination)
    propagation = next((word for word in words if word in _PROPAGATIONS), "")
    if reason is None and kind == "bind" and {"nocopy", "copy"} & set(words):
        reason = "field VolumeOptions must not be specified"
    if reason is None and kind == "volume" and propagation:
        reason = "field BindOptions must not be specified"
    if reason is not None:
        raise InvalidError(f'{invalid}: invalid mount config for type "{kind}": {reason}')
    return MountRequest(
        kind,
        posixpath.normpath(source) if kind == "bind" else source,
        posixpath.normpath(destination),
        writable="ro" not in words,
        mode=mode,
        propagation=(propagation or "rprivate") if kind == "bind" else "",
        missing_source_allowed=True,
        copy="nocopy" not in words,
        driver=volume_driver if kind == "volume" else "",
    )


def parse_mount(one: Mapping[str, Any]) -> MountRequest:
    """Read a member of `Mounts`."""
    kind = one.get("Type", "")
    reason = _target_error(one.get("Target", "")) or _kind_error(kind, one)
    if reason is not None:
        raise InvalidError(f'invalid mount config for type "{kind}": {reason}')
    if kind in ("image", "cluster"):
        raise UnsupportedError(f"mounts of type {kind} are not supported yet")
    bind, volume = one.get("BindOptions") or {}, one.get("VolumeOptions") or {}
    driver = volume.get("DriverConfig") or {}
    source = one.get("Source", "")
    return MountRequest(
        kind,
        posixpath.normpath(source) if kind == "bind" else source,
        posixpath.normpath(one["Target"]),
        writable=not one.get("ReadOnly"),
        propagation=(bind.get("Propagation") or "rprivate") if kind == "bind" else "",
        recursive=not bind.get("NonRecursive"),
        read_only_recursive=not bind.get("ReadOnlyNonRecursive"),
        force_recursive=bool(bind.get("ReadOnlyForceRecursive")),
        create_source=bool(bind.get("CreateMountpoint")),
        copy=not volume.get("NoCopy"),
        subpath=volume.get("Subpath") or "",
        driver=driver.get("Name") or "",
        driver_options=driver.get("Options") or {},
        labels=volume.get("Labels") or {},
        tmpfs_options=_tmpfs_words(one.get("TmpfsOptions") or {}),
    )


def _kind_error(kind: str, one: Mapping[str, Any]) -> str | None:
    source = one.get("Source", "")
    if kind == "bind":
        return _bind_error(one, source)
    if kind not in ("volume", "tmpfs", "image", "cluster"):
        return "mount type unknown"
    if "BindOptions" in one:
        return "field BindOptions must not be specified"
    if kind == "volume":
        return _volume_error(one, source)
    if kind == "tmpfs":
        if source:
            return "field Source must not be specified"
        for option in (one.get("TmpfsOptions") or {}).get("Options") or ():
            if not 1 <= len(option) <= 2:
                return "invalid option array length"
            if option[0] not in ("exec", "noexec"):
                return f"invalid option: {option[0]}"
    return None


def _bind_error(one: Mapping[str, Any], source: str) -> str | None:
    if not source:
        return "field Source must not be empty"
    options = one.get("BindOptions") or {}
    propagation = options.get("Propagation") or ""
    if propagation and propagation not in _PROPAGATIONS:
        return f"invalid propagation mode: {propagation}"
    if "VolumeOptions" in one:
        return "field VolumeOptions must not be specified"
    if options.get("ReadOnlyNonRecursive") and not one.get("ReadOnly"):
        return "mount is not read-only, but ReadOnlyNonRecursive is set"
    if options.get("ReadOnlyForceRecursive"):
        if not one.get("ReadOnly") or options.get("NonRecursive"):
            return "ReadOnlyForceRecursive needs a read-only and recursive bind mount"
        if propagation not in ("rprivate",):
            return "ReadOnlyForceRecursive needs the bind propagation to be rprivate"
    return _path_error(source)


def _volume_error(one: Mapping[str, Any], source: str) -> str | None:
    subpath = (one.get("VolumeOptions") or {}).get("Subpath") or ""
    if subpath:
        if not source:
            return "must not set Subpath when using anonymous volumes"
        clean = posixpath.normpath(subpath)
        if subpath.startswith("/") or clean == ".." or clean.startswith("../"):
            return "subpath must be a relative path within the volume"
    if one.get("ReadOnly") and not source:
        return "must not set ReadOnly mode when using anonymous volumes"
    return None


def _tmpfs_words(options: Mapping[str, Any]) -> tuple[str, ...]:
    words = []
    if options.get("SizeBytes"):
        words.append(f"size={options['SizeBytes']}")
    if options.get("Mode"):
        words.append(f"mode={options['Mode']:o}")
    words += ["=".join(option) for option in options.get("Options") or ()]
    return tuple(words)


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """Read `container[:mode]`; returns the container and whether it is mounted writable."""
    if not text:
        raise InvalidError("volumes-from specification cannot be an empty string")
    name, _, mode = text.partition(":")
    words = set(mode.split(",")) if mode else set[str]()
    if not _valid_mode(mode) or words & (_PROPAGATIONS | {"nocopy", "copy"}):
        raise InvalidError(f"invalid mode: {mode}")
    return name, "ro" not in words


def check_tmpfs(mounts: Mapping[str, str]) -> None:
    """Refuse places of `--tmpfs` where nothing can be mounted, and options that there are not."""
    for destination, options in mounts.items():
        reason = _target_error(destination or ".")
        if reason is not None:
            raise InvalidError(reason)
        for option in (options or "").split(","):
            parts = option.split("=", 1)
            if option and parts[0] not in (_TMPFS_VALUES if len(parts) > 1 else _TMPFS_FLAGS):
                shown = " ".join(f'"{part}"' for part in parts)
                raise InvalidError(f"invalid tmpfs option [{shown}]")
