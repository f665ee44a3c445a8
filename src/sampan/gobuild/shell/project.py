"""Reading a project's files: bounded, without following links, whatever they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Final

from sampan.base.errors import InvalidError
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.check.gofiles import GoSource, read_source
from sampan.gobuild.core.check.project import Project, kind_of
from sampan.gobuild.core.levels import LEVELS

__all__ = ["bounded_content", "environment_file", "read_project", "replace_files"]

_SKIPPED: Final = frozenset({"vendor", "testdata", "node_modules", "third_party", "dist"})
_TEXT_LIMIT: Final = 1 << 20
_GO_LIMIT: Final = 8 << 20
_FILES_LIMIT: Final = 200_000
_MANIFEST: Final = (b"apiVersion:", b"kind:", b"image:")


def read_project(root: str) -> tuple[Project, list[str]]:
    """Return a project and the files that could not be read; InvalidError when there is none."""
    if not os.path.isdir(root):
        raise InvalidError(f"{root}: not a directory")
    files: list[SourceFile] = []
    sources: list[GoSource] = []
    unread: list[str] = []
    modules: list[SourceFile] = []
    for path in _walk(root, unread):
        name = os.path.relpath(path, root).replace(os.sep, "/")
        go = name.endswith(".go")
        kind = "go" if go else kind_of(name)
        if not kind:
            continue
        data = bounded_content(path, _GO_LIMIT if go else _TEXT_LIMIT)
        if data is None:
            # Of YAML that may be anything, only what is of a size that people write is looked at.
            if kind != "manifest":
                unread.append(name)
        elif go:
            if source := read_source(name, data):
                sources.append(source)
        elif kind == "module":
            modules.append(SourceFile(name, data.decode("utf-8", "replace")))
        elif kind != "manifest" or all(mark in data for mark in _MANIFEST):
            files.append(SourceFile(name, data.decode("utf-8", "replace").replace("\r\n", "\n")))
    return Project(tuple(files), tuple(sources), tuple(modules)), unread


def _walk(root: str, unread: list[str]) -> Iterator[str]:
    """Every file below a root, in order of names; hidden directories but .github are left out."""
    count = 0
    stack = [root]
    while stack and count < _FILES_LIMIT:
        folder = stack.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            unread.append(os.path.relpath(folder, root))
            continue
        for entry in entries:
            count += 1
            if entry.is_dir(follow_symlinks=False):
                # Go itself leaves out folders that begin with an underscore or a dot.
                hidden = entry.name.startswith((".", "_")) and entry.name != ".github"
                if not hidden and entry.name not in _SKIPPED:
                    stack.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path


def bounded_content(path: str, limit_bytes: int, head: bool = False) -> bytes | None:
    """Return what a regular file holds; None when it cannot be read, is a link, or is larger.

    With `head`, what is larger than the limit is cut off there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (status.st_size > limit_bytes and not head):
            return None
        try:
            return file.read(limit_bytes)
        except OSError:
            return None


def environment_file(environment: Mapping[str, str]) -> SourceFile | None:
    """Return Go's variables of an environment as a file of assignments; None without any."""
    names = ["GOOS", "GOARCH", "CGO_ENABLED", *sorted({s.variable for s in LEVELS.values()})]
    lines = [f"{name}={environment[name]}" for name in names if environment.get(name)]
    return SourceFile("environment", "\n".join(lines)) if lines else None


def replace_files(root: str, texts: Mapping[str, str]) -> None:
    """Write new texts of files, each at once, with the mode it had."""
    for name, text in texts.items():
        path = os.path.join(root, name)
        with open(path, "rb") as before:
            data = before.read(_TEXT_LIMIT)
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidError(f"{name}: not UTF-8, so it is not changed") from None
        if b"\r\n" in data:
            text = text.replace("\n", "\r\n")
        mode = stat.S_IMODE(os.stat(path).st_mode)
        part = f"{path}.sampan-new"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(part, mode)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
