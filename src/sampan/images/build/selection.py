"""Which files COPY and ADD mean: sources by pattern, what is left out, and a digest of it all.

Patterns are Go's `filepath.Match`. A source that is a link is followed; links below it are kept.
The digest covers names, kinds, modes, links and contents, and not times: a fresh checkout of the
same files is the same input.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError, NotFoundError
from sampan.dockerfile.ignore import IgnoreRules, parse_ignore
from sampan.images.build.filetree import FileTree, Found
from sampan.images.shell.stack import Stack

__all__ = ["Chosen", "Selection", "choose", "content_digest", "file_digest"]

_MAGIC: Final = re.compile(r"[*?\[\\]")
_CHUNK_BYTES: Final = 1 << 20
_DEPTH_LIMIT: Final = 512


@dataclass(frozen=True, slots=True)
class Chosen:
    """One file or directory to copy: its name from the source on, and where it is."""

    name: str
    real: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Tell whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(frozen=True, slots=True)
class Selection:
    """What one source of a copy stands for.

    `base` is the source's own name; `parents` its path, for `--parents`; `directory` tells whether
    its contents are copied rather than itself.
    """

    base: str
    path: str
    directory: bool
    tree: FileTree
    rules: IgnoreRules | None

    def entries(self) -> Iterator[Chosen]:
        """Yield what it consists of, directories before what is in them, in order of names."""
        found = self.tree.find(self.path)
        status = found.status
        if status is None:
            return
        if not self.directory:
            yield Chosen(self.base, found.real, status)
            return
        yield from _below(found.below(), "", found.path, self.rules, 0)


def _below(
    folder: Stack, name: str, path: str, rules: IgnoreRules | None, depth: int
) -> Iterator[Chosen]:
    if depth > _DEPTH_LIMIT:
        raise InvalidError(f"{path}: directories are nested too deeply")
    for one in folder.names():
        status = folder.stat(one)
        inside = f"{name}/{one}" if name else one
        below = f"{path}/{one}" if path else one
        if status is None or stat.S_ISSOCK(status.st_mode):
            continue
        ignored = rules is not None and rules.ignored(below)
        is_directory = stat.S_ISDIR(status.st_mode)
        if is_directory and (not ignored or not _skipped(rules, below)):
            inner = _below(folder.enter(one), inside, below, rules, depth + 1)
            if not ignored:
                yield Chosen(inside, folder.path(one), status)
                yield from inner
            else:
                # Left out itself, but something below may be taken back in.
                first = next(inner, None)
                if first is not None:
                    yield Chosen(inside, folder.path(one), status)
                    yield first
                    yield from inner
        elif not ignored:
            yield Chosen(inside, folder.path(one), status)


def _skipped(rules: IgnoreRules | None, path: str) -> bool:
    return rules is not None and rules.skipped(path)


def choose(
    tree: FileTree, patterns: Sequence[str], ignore: IgnoreRules | None, excludes: Sequence[str]
) -> list[Selection]:
    """Return what the sources of a copy stand for, in their order.

    Raises NotFoundError when a source is not there or a pattern matches nothing, InvalidError for a
    malformed pattern.
    """
    found: list[Selection] = []
    for pattern in patterns:
        clean = posixpath.normpath("/" + pattern).lstrip("/")
        paths = [clean] if not _MAGIC.search(clean) else list(_matches(tree, clean, ignore))
        if not paths:
            raise NotFoundError(f'no source files were found for "{pattern}"')
        found += [_selection(tree, path, pattern, ignore, excludes) for path in paths]
    return found


def _selection(
    tree: FileTree, path: str, pattern: str, ignore: IgnoreRules | None, excludes: Sequence[str]
) -> Selection:
    missing = NotFoundError(f'"/{path}": not found')
    try:
        at: Found = tree.find(path)
    except OSError as error:
        raise NotFoundError(f'"/{path}": {error.strerror}') from None
    if at.status is None:
        raise missing
    if (
        ignore is not None
        and path
        and ignore.ignored(path)
        and (not at.is_directory or ignore.skipped(path))
    ):
        raise missing
    rules = _with_excludes(ignore, excludes, at.path)
    return Selection(posixpath.basename(path), path, at.is_directory, tree, rules)


def _with_excludes(
    ignore: IgnoreRules | None, excludes: Sequence[str], path: str
) -> IgnoreRules | None:
    """Add `--exclude` patterns, which are relative to the source."""
    if not excludes:
        return ignore
    prefix = f"{path}/" if path else ""
    own = parse_ignore("\n".join(f"{prefix}{one}" for one in excludes))
    return own if ignore is None else _Both(ignore, own)


class _Both(IgnoreRules):
    """Left out by either."""

    def __init__(self, first: IgnoreRules, second: IgnoreRules) -> None:
        super().__init__(())
        self._pair = (first, second)

    def ignored(self, path: str) -> bool:
        return any(one.ignored(path) for one in self._pair)

    def skipped(self, directory: str) -> bool:
        return any(one.skipped(directory) for one in self._pair)


def _matches(tree: FileTree, pattern: str, ignore: IgnoreRules | None) -> Iterator[str]:
    """Yield the paths that a pattern with wildcards matches, part by part, in order of names."""
    parts = pattern.split("/")

    def walk(folder: Stack, at: int, path: str) -> Iterator[str]:
        accepts = _matcher(parts[at])
        for name in folder.names():
            if not accepts(name):
                continue
            below = f"{path}/{name}" if path else name
            if ignore is not None and ignore.ignored(below) and ignore.skipped(below):
                continue
            if at == len(parts) - 1:
                if ignore is None or not ignore.ignored(below):
                    yield below
            else:
                yield from walk(folder.enter(name), at + 1, below)

    yield from walk(tree.root, 0, "")


def _matcher(part: str) -> Callable[[str], bool]:
    rules = parse_ignore(part.replace("**", "*")) if part else None
    return (lambda name: rules.ignored(name)) if rules is not None else (lambda name: name == part)


def content_digest(selections: Sequence[Selection]) -> str:
    """Return the digest of all that the selections consist of; blocks."""
    total = hashlib.sha256()
    for selection in selections:
        total.update(f"{selection.base}\0{selection.directory}\0{selection.path}\0".encode())
        for one in selection.entries():
            total.update(_described(one))
    return total.hexdigest()


def _described(one: Chosen) -> bytes:
    mode = one.status.st_mode
    kind, rest = stat.S_IFMT(mode), b""
    if kind == stat.S_IFREG:
        rest = file_digest(one.real)
    elif kind == stat.S_IFLNK:
        rest = os.fsencode(os.readlink(one.real))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        rest = str(one.status.st_rdev).encode()
    head = f"{one.name}\0{mode:o}\0{one.status.st_uid}:{one.status.st_gid}\0{len(rest)}\0"
    return head.encode(errors="surrogateescape") + rest


def file_digest(path: str) -> bytes:
    """Return the SHA-256 of a file; blocks."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_CHUNK_BYTES):
            digest.update(data)
    return digest.digest()
