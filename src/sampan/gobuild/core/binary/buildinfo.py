"""Go's build info: which Go, which module, which settings; in both its forms.

Source: the comments of debug/buildinfo in Go's standard library.
"""

from __future__ import annotations

from typing import Final, Literal

from sampan.base.record import record
from sampan.gobuild.core.binary.executable import Executable
from sampan.gobuild.core.binary.window import BinaryError, Window

__all__ = ["BuildInfo", "read_buildinfo"]

_MAGIC: Final = b"\xff Go buildinf:"
_SECTIONS: Final = (".go.buildinfo", "__go_buildinfo", ".data")
_TEXT_LIMIT: Final = 4 << 20
_TRIES: Final = 64
_REGIONS: Final = 8


@record
class BuildInfo:
    """What `go build` wrote into the program."""

    go_version: str
    path: str = ""
    module: str = ""
    module_version: str = ""
    dependencies: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    def setting(self, name: str) -> str | None:
        """Return a setting's value, None when it was not recorded."""
        return next((value for key, value in self.settings if key == name), None)


def read_buildinfo(executable: Executable) -> BuildInfo | None:
    """Return the build info of a program; None when it has none that can be read."""
    window = executable.window
    places = [one for name in _SECTIONS if (one := executable.section(name))]
    places += [one for one in executable.regions if one.writable][:_REGIONS]
    for place in places:
        at, end = place.offset, place.offset + place.size
        for _ in range(_TRIES):
            at = window.find(_MAGIC, at, end)
            if at < 0:
                break
            try:
                if found := _read(executable, at):
                    return found
            except BinaryError:
                pass
            at += 1
    return None


def _read(executable: Executable, at: int) -> BuildInfo | None:
    window = executable.window
    pointer_size, flags = window.unpack("BB", at + 14)
    if flags & 2:
        version, behind = _inline(window, at + 32)
        module, _ = _inline(window, behind)
    else:
        if pointer_size not in (4, 8):
            return None
        reader = _Pointers(executable, pointer_size, bool(flags & 1))
        version = reader.text(window.take(at + 16, pointer_size))
        module = reader.text(window.take(at + 16 + pointer_size, pointer_size))
    if not version.startswith((b"go", b"devel")):
        return None
    return _parsed(version.decode("utf-8", "replace"), module)


def _inline(window: Window, at: int) -> tuple[bytes, int]:
    size = shift = 0
    for _ in range(10):
        byte = window.one("B", at)
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > _TEXT_LIMIT or at + size > window.size:
        raise BinaryError("a text of the build info is longer than the file")
    return window.take(at, size), at + size


class _Pointers:
    """The older form: pointers to Go strings, which are pointer and length."""

    def __init__(self, executable: Executable, size: int, big: bool) -> None:
        self.executable = executable
        self.size = size
        self.order: Literal["big", "little"] = "big" if big else "little"

    def text(self, pointer: bytes) -> bytes:
        address = self._number(pointer)
        if not address:
            return b""
        head = self.executable.at(address, 2 * self.size)
        length = self._number(head[self.size :])
        if length > _TEXT_LIMIT:
            raise BinaryError("a text of the build info is too long")
        return self.executable.at(self._number(head[: self.size]), length)

    def _number(self, raw: bytes) -> int:
        return int.from_bytes(raw, self.order)


def _parsed(version: str, raw: bytes) -> BuildInfo:
    # The text stands between two marks of 16 bytes.
    text = raw[16:-16].decode("utf-8", "replace") if len(raw) >= 33 else ""
    path = module = module_version = ""
    dependencies: list[tuple[str, str]] = []
    settings: list[tuple[str, str]] = []
    for line in text.splitlines():
        kind, _, rest = line.partition("\t")
        parts = rest.split("\t")
        if kind == "path":
            path = rest
        elif kind == "mod":
            module, module_version = parts[0], parts[1] if len(parts) > 1 else ""
        elif kind == "dep":
            dependencies.append((parts[0], parts[1] if len(parts) > 1 else ""))
        elif kind == "build":
            key, _, value = rest.partition("=")
            settings.append((key, _unquoted(value)))
    return BuildInfo(version, path, module, module_version, tuple(dependencies), tuple(settings))


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in '"`':
        inner = value[1:-1]
        return inner.replace('\\"', '"').replace("\\\\", "\\") if value[0] == '"' else inner
    return value
