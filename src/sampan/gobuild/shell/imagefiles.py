"""The programs of an image, out of the entries of its layers, which somebody else reads."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from sampan.base.errors import InvalidError, LimitError
from sampan.base.record import changed, record
from sampan.gobuild.core.binary.inspection import Inspection, inspect_binary
from sampan.gobuild.core.image.claims import Claim, Program, Verdict, command_paths, judged
from sampan.gobuild.core.image.tree import Node, Tree, normal
from sampan.gobuild.shell.binaries import mapped

__all__ = ["LayerEntry", "PlatformImage", "inspect_images"]

_MAGICS: Final = (
    (b"\x7fELF", "ELF"),
    (b"MZ", "PE"),
    (b"\xcf\xfa\xed\xfe", "Mach-O"),
    (b"\xca\xfe\xba\xbe", "Mach-O"),
    (b"#!", "script"),
)
_SPOOLED_BYTES: Final = 1 << 30
_ALL_BYTES: Final = 8 << 30
_LIBC: Final = re.compile(rb"GNU C Library [^\n]{0,80}? version (2\.\d+)")
_LIBC_BYTES: Final = 16 << 20
_PROGRAMS: Final = 10_000


class LayerEntry(Protocol):
    """An entry of a layer. `kind` is `file`, `directory`, `link` (symbolic), `hard` or `other`."""

    @property
    def name(self) -> str:
        """Its path as the layer has it."""
        ...

    @property
    def kind(self) -> str:
        """What it is."""
        ...

    @property
    def target(self) -> str:
        """Where a link leads."""
        ...

    @property
    def size_bytes(self) -> int:
        """The size of a file."""
        ...

    def pieces(self) -> Iterable[bytes]:
        """Return the contents of a file, once, before the next entry is asked for."""
        ...


@record
class PlatformImage:
    """One platform of an image: its claims, its configuration, its layers from the lowest up."""

    name: str
    index: Claim | None
    document: Mapping[str, Any]
    layers: Sequence[Iterable[LayerEntry]]


def inspect_images(images: Iterable[PlatformImage]) -> list[Verdict]:
    """Return the verdict on each platform; the files of its programs are gone by then."""
    with tempfile.TemporaryDirectory(prefix="image-") as place:
        return [_verdict(one, f"{place}/{number}") for number, one in enumerate(images)]


def _verdict(one: PlatformImage, place: str) -> Verdict:
    os.mkdir(place)
    spool = _Spool(place, windows=str(one.document.get("os")) == "windows")
    for layer in one.layers:
        spool.tree.begin_layer()
        for entry in layer:
            spool.take(entry)
    tree = spool.tree
    config = one.document.get("config")
    _, places = command_paths(config if isinstance(config, Mapping) else {}, tree)
    main = next((found[0] for path in places if (found := tree.resolve(path))), "")
    programs = []
    for path, node in tree.files():
        if node.go:
            seen = changed(spool.inspections[node.kept], path=f"/{path}")
            programs.append(Program(path, seen, node.size_bytes, path == main))
    programs.sort(key=lambda program: (not program.main, program.path))
    return judged(one.name, one.index, one.document, tree, programs, spool.glibc)


class _Spool:
    """Takes entries into the tree; executables go through a file, of which Go's are inspected."""

    def __init__(self, place: str, *, windows: bool) -> None:
        self.tree = Tree()
        self.inspections: dict[str, Inspection] = {}
        self.glibc = ""
        self._place = place
        self._windows = windows
        self._bytes = 0

    def take(self, entry: LayerEntry) -> None:
        """Put one entry into the tree."""
        name = normal(entry.name)
        if self._windows:
            if not name.startswith("Files/"):
                return
            name = name.removeprefix("Files/")
        if entry.kind == "hard":
            target = normal(entry.target)
            node = self.tree.get(target.removeprefix("Files/") if self._windows else target)
            self.tree.put(name, node or Node("other"))
        elif entry.kind == "file":
            self.tree.put(name, self._file(name, entry))
        else:
            self.tree.put(name, Node(entry.kind, entry.target))

    def _file(self, name: str, entry: LayerEntry) -> Node:
        node = Node("file", size_bytes=entry.size_bytes)
        if entry.size_bytes < 4 or entry.size_bytes > _SPOOLED_BYTES:
            return node
        pieces = iter(entry.pieces())
        head = b""
        for piece in pieces:
            head += bytes(piece)
            if len(head) >= 4:
                break
        form = next((kind for magic, kind in _MAGICS if head.startswith(magic)), "")
        if form in ("", "script"):
            return changed(node, format=form)
        path = f"{self._place}/{len(self.inspections)}-{self._bytes}"
        with open(path, "wb") as file:
            file.write(head)
            for piece in pieces:
                file.write(piece)
        node = self._executable(name, path, changed(node, format=form))
        os.unlink(path)
        return node

    def _executable(self, name: str, path: str, node: Node) -> Node:
        self._bytes += node.size_bytes
        if self._bytes > _ALL_BYTES:
            raise LimitError(f"the executables of the image are larger than {_ALL_BYTES} bytes")
        try:
            with mapped(path) as data:
                if name.rpartition("/")[2] == "libc.so.6":
                    found = _LIBC.search(bytes(data[:_LIBC_BYTES]))
                    self.glibc = found[1].decode() if found else self.glibc
                one, *_ = inspect_binary(name, data)
        except InvalidError:
            return node
        if one.build is None or len(self.inspections) >= _PROGRAMS:
            return changed(node, goarch=one.goarch)
        self.inspections[path] = one
        return changed(node, goarch=one.goarch, go=True, kept=path)
