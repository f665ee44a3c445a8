"""The files of an image after all of its layers: whiteouts, links and what replaces what.

Source: OCI image specification 1.1, "layer".
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from sampan.base.errors import LimitError
from sampan.base.record import record

__all__ = ["Node", "Tree", "normal"]

_NODES: Final = 1_000_000
_LINKS: Final = 40
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


@record
class Node:
    """A file, directory or link. `kept` names what was kept of its contents, empty for nothing.

    `format` is `ELF`, `PE`, `Mach-O`, `script`, or empty; `go` whether it has Go's build info.
    """

    kind: str
    target: str = ""
    format: str = ""
    goarch: str = ""
    go: bool = False
    kept: str = ""
    size_bytes: int = 0


def normal(name: str) -> str:
    """Return a path from the root without `.` and `..`: nothing leaves the root."""
    return posixpath.normpath("/" + name.replace("\0", "")).lstrip("/")


class Tree:
    """Paths and what they are. Layers are put in from the lowest to the highest."""

    def __init__(self) -> None:
        self._children: dict[str, dict[str, Node]] = {"": {}}
        self._count = 0
        self._fresh: set[str] = set()

    def begin_layer(self) -> None:
        """From here on what is put in belongs to the next layer."""
        self._fresh = set()

    def put(self, name: str, node: Node) -> None:
        """Put in an entry, or do what a whiteout says; LimitError when there are too many."""
        path = normal(name)
        folder, _, last = path.rpartition("/")
        if last == _OPAQUE:
            self._empty(folder)
        elif last.startswith(_WHITEOUT):
            self._remove(posixpath.join(folder, last[len(_WHITEOUT) :]))
        elif path:
            old = self.get(path)
            if old and old.kind == "directory" and node.kind != "directory":
                self._remove(path)
            self._set(path, node)

    def _set(self, path: str, node: Node) -> None:
        self._count += 1
        if self._count > _NODES:
            raise LimitError(f"the image has more than {_NODES} entries")
        folder, _, last = path.rpartition("/")
        parts = folder.split("/") if folder else []
        for depth in range(len(parts)):
            above, name = "/".join(parts[:depth]), parts[depth]
            known = self._children.setdefault(above, {})
            if name not in known:
                self._count += 1
                known[name] = Node("directory")
        self._children.setdefault(folder, {})[last] = node
        self._fresh.add(path)

    def _remove(self, path: str) -> None:
        folder, _, last = path.rpartition("/")
        self._children.get(folder, {}).pop(last, None)
        waiting = [path]
        while waiting:
            one = waiting.pop()
            waiting += [f"{one}/{name}" for name in self._children.pop(one, {})]

    def _empty(self, folder: str) -> None:
        """Hide what lower layers have in a directory; what this layer has put in stays."""
        for name in list(self._children.get(folder, {})):
            path = f"{folder}/{name}".lstrip("/")
            if path not in self._fresh:
                self._remove(path)

    def get(self, path: str) -> Node | None:
        """Return what is at a path, links not followed."""
        folder, _, last = path.rpartition("/")
        return self._children.get(folder, {}).get(last)

    def resolve(self, name: str) -> tuple[str, Node] | None:
        """Return path and node with all links followed inside of the image; None when nowhere."""
        waiting = normal(name).split("/")
        at, followed = "", 0
        while waiting:
            part = waiting.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            path = f"{at}/{part}".lstrip("/")
            node = self.get(path)
            if node is None:
                return None
            if node.kind == "link":
                followed += 1
                if followed > _LINKS:
                    return None
                at = "" if node.target.startswith("/") else at
                waiting = node.target.split("/") + waiting
            else:
                at = path
        node = self.get(at)
        return (at, node) if node else None

    def files(self) -> Iterator[tuple[str, Node]]:
        """Yield all that is no directory, by path."""
        for folder in sorted(self._children):
            for name, node in sorted(self._children[folder].items()):
                if node.kind != "directory":
                    yield f"{folder}/{name}".lstrip("/"), node
