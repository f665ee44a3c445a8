"""Where files come from: `-v`, `--mount` and `--tmpfs`."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import Any

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.flags import Kind
from sampan.cli.containers.core.kinds import boolean, csv_fields, size_bytes

__all__ = ["MOUNT", "absolute_sources", "tmpfs", "volumes"]

_KEYS = {"source": "Source", "src": "Source", "target": "Target", "dst": "Target"}
_BARE = frozenset(("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"))


def volumes(
    specifications: Iterable[str], working_directory: str
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return Binds and Volumes of `-v`: with a source, made absolute, and without one."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for specification in dict.fromkeys(specifications):
        if not specification:
            raise InvalidError("invalid empty volume spec")
        source, colon, rest = specification.partition(":")
        # One letter before the only colon is a drive to Docker, and the whole a path.
        drive = len(source) == 1 and source.isalpha() and ":" not in rest
        if not colon or len(specification) <= 2 or drive:
            anonymous[specification] = {}
            continue
        if not source or "" in rest.split(":"):
            raise InvalidError(f"invalid spec: {specification}: empty section between colons")
        if source.startswith("."):
            source = posixpath.normpath(posixpath.join(working_directory, source))
        binds.append(f"{source}:{rest}")
    return binds, anonymous


def tmpfs(specifications: Iterable[str]) -> dict[str, str]:
    """Return Tmpfs: path -> options."""
    found = {}
    for specification in specifications:
        path, _, options = specification.partition(":")
        found[path] = options
    return found


def absolute_sources(mounts: Iterable[dict[str, Any]], working_directory: str) -> None:
    """Make the sources of bind mounts absolute, in place."""
    for mount in mounts:
        source = mount.get("Source", "")
        if mount["Type"] == "bind" and source.startswith("."):
            mount["Source"] = posixpath.normpath(posixpath.join(working_directory, source))


def _mount(text: str) -> dict[str, Any]:
    """Return one entry of Mounts."""
    mount: dict[str, Any] = {"Type": "volume"}
    options: dict[str, dict[str, Any]] = {}
    mixed: dict[str, None] = {}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            if key not in _BARE:
                raise InvalidError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        _field(mount, options, field, key, value)
        kind = key.partition("-")[0]
        if "-" in key and kind in ("bind", "volume", "image", "tmpfs"):
            mixed[kind] = None
    if not mount.get("Target"):
        raise InvalidError("target is required")
    kind = mount["Type"]
    for other in mixed:
        if other != kind:
            raise InvalidError(f"cannot mix '{other}-*' options with mount type '{kind}'")
    bind = options.get("BindOptions", {})
    _check_recursion(mount, bind)
    return {**mount, **options}


def _field(
    mount: dict[str, Any], options: dict[str, dict[str, Any]], field: str, key: str, value: str
) -> None:
    if key == "type":
        mount["Type"] = value.lower()
    elif key in _KEYS or key == "destination":
        mount[_KEYS.get(key, "Target")] = value
    elif key in ("readonly", "ro"):
        mount["ReadOnly"] = _truth(key, value)
    elif key == "consistency":
        mount["Consistency"] = value.lower()
    elif key in _OPTIONS:
        group, apply = _OPTIONS[key]
        apply(options.setdefault(group, {}), key, value)
    else:
        raise InvalidError(f"unexpected key '{key}' in '{field}'")


def _truth(key: str, value: str) -> bool:
    try:
        return boolean(value)
    except ValueError:
        raise InvalidError(f"invalid value for {key}: {value}") from None


Options = dict[str, Any]


def _text(name: str) -> Callable[[Options, str, str], None]:
    def apply(options: Options, key: str, value: str) -> None:
        options[name] = value

    return apply


def _switch(name: str) -> Callable[[Options, str, str], None]:
    def apply(options: Options, key: str, value: str) -> None:
        options[name] = _truth(key, value)

    return apply


def _pair(options: dict[str, str], value: str) -> None:
    name, _, text = value.partition("=")
    options[name] = text


def _driver(options: Options, key: str, value: str) -> None:
    options.setdefault("DriverConfig", {})["Name"] = value


def _driver_option(options: Options, key: str, value: str) -> None:
    _pair(options.setdefault("DriverConfig", {}).setdefault("Options", {}), value)


def _label(options: Options, key: str, value: str) -> None:
    _pair(options.setdefault("Labels", {}), value)


def _propagation(options: Options, key: str, value: str) -> None:
    options["Propagation"] = value.lower()


def _recursive(options: Options, key: str, value: str) -> None:
    fields = {
        "enabled": "",
        "disabled": "NonRecursive",
        "writable": "ReadOnlyNonRecursive",
        "readonly": "ReadOnlyForceRecursive",
    }
    if value not in fields:
        raise InvalidError(
            f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", '
            'or "readonly")'
        )
    if fields[value]:
        options[fields[value]] = True


def _check_recursion(mount: dict[str, Any], bind: Options) -> None:
    for name, word in (
        ("ReadOnlyNonRecursive", "writable"),
        ("ReadOnlyForceRecursive", "readonly"),
    ):
        if bind.get(name) and not mount.get("ReadOnly"):
            raise InvalidError(
                f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
            )
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise InvalidError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be "
            "specified in conjunction"
        )


def _size(options: Options, key: str, value: str) -> None:
    try:
        options["SizeBytes"] = size_bytes(value)
    except ValueError:
        raise InvalidError(f"invalid value for {key}: {value}") from None


def _mode(options: Options, key: str, value: str) -> None:
    try:
        options["Mode"] = int(value, 8)
    except ValueError:
        raise InvalidError(f"invalid value for {key}: {value}") from None


_OPTIONS: dict[str, tuple[str, Callable[[Options, str, str], None]]] = {
    "bind-propagation": ("BindOptions", _propagation),
    "bind-nonrecursive": ("BindOptions", _switch("NonRecursive")),
    "bind-create-src": ("BindOptions", _switch("CreateMountpoint")),
    "bind-recursive": ("BindOptions", _recursive),
    "volume-subpath": ("VolumeOptions", _text("Subpath")),
    "volume-nocopy": ("VolumeOptions", _switch("NoCopy")),
    "volume-label": ("VolumeOptions", _label),
    "volume-driver": ("VolumeOptions", _driver),
    "volume-opt": ("VolumeOptions", _driver_option),
    "image-subpath": ("ImageOptions", _text("Subpath")),
    "tmpfs-size": ("TmpfsOptions", _size),
    "tmpfs-mode": ("TmpfsOptions", _mode),
}

MOUNT = Kind("mount", _mount, repeated=True)
