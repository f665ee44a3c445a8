"""Packages of a project and of the modules that it requires, from vendor/ or Go's module cache.

Nothing is downloaded or written, and Go is not needed. Reading is bounded; what is not there or
beyond the bounds is remembered, so that the answer can say so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from sampan.gobuild.core.gosyntax import GoFile, read_head
from sampan.gobuild.core.importgraph import GoPackage
from sampan.gobuild.core.modfile import (
    escaped,
    is_import_path,
    read_modfile,
    read_sums,
    vendored_modules,
)
from sampan.gobuild.shell.project import bounded_content

__all__ = ["ModuleSources", "module_cache"]

_HEAD_LIMIT: Final = 1 << 20
_SUMS_LIMIT: Final = 16 << 20
_FILES_LIMIT: Final = 100_000
_BYTES_LIMIT: Final = 1 << 30
_ENTRIES_LIMIT: Final = 10_000


def module_cache(environment: Mapping[str, str]) -> str:
    """Return where Go keeps modules: GOMODCACHE, else pkg/mod of GOPATH, else of ~/go."""
    if cache := environment.get("GOMODCACHE"):
        return cache
    gopath = environment.get("GOPATH", "").split(os.pathsep)[0]
    return os.path.join(gopath or os.path.join(environment.get("HOME", "/"), "go"), "pkg", "mod")


class ModuleSources:
    """The packages of a project at `root` and of its modules, each read when it is asked for.

    `missing` names the modules, or imports of no known module, whose sources are not there;
    `complete` is False once a bound was met.
    """

    def __init__(self, root: str, cache: str) -> None:
        self._root = root
        self._cache = cache
        self._modfile = read_modfile(self._text("go.mod"))
        sums = read_sums(self._text("go.sum"))
        self._versions = {**sums, **self._modfile.required}
        self._vendored = vendored_modules(self._text("vendor/modules.txt"))
        self._loaded: dict[str, GoPackage | None] = {}
        self._files = 0
        self._bytes = 0
        self._missing: dict[str, None] = {}
        self.complete = True

    @property
    def missing(self) -> list[str]:
        """Modules that were not looked into, by name."""
        return sorted(self._missing)

    def own(self, folders: Iterable[str]) -> list[GoPackage]:
        """Return the packages in folders of the project, `` for the root; not of modules in it."""
        found = []
        for folder in sorted(folders):
            if self._nested(folder):
                continue
            module = self._modfile.module
            path = "/".join(part for part in (module, folder) if part) or "main"
            package = self._read(os.path.join(self._root, folder), path, folder)
            if package:
                self._loaded[path] = package
                found.append(package)
        return found

    def load(self, path: str) -> GoPackage | None:
        """Return the package of an import; None for the standard library and what is not there."""
        if path not in self._loaded:
            self._loaded[path] = self._found(path) if is_import_path(path) else None
        return self._loaded[path]

    def _found(self, path: str) -> GoPackage | None:
        own = self._modfile.module
        if own and (path == own or path.startswith(f"{own}/")):
            if package := self._read(os.path.join(self._root, path[len(own) + 1 :]), path):
                return package
        modules = [one for one in _prefixes(path) if one in self._versions]
        modules += [one for one in _prefixes(path) if self._modfile.replacement(one)]
        if not modules and "." not in path.split("/")[0]:
            return None
        if self._vendored and (
            package := self._read(os.path.join(self._root, "vendor", path), path)
        ):
            return package
        # The longest path wins, as it does in Go.
        for module in modules:
            folder = self._folder(module)
            if folder and (package := self._read(folder + path[len(module) :], path)):
                return package
        if self.complete:
            self._missing[self._absent(path, modules)] = None
        return None

    def _absent(self, path: str, modules: list[str]) -> str:
        """Name what is not there: a module, or a package where its modules are there."""
        if module := self._vendored.get(path):
            return module
        folders = [self._folder(one) for one in modules]
        if not modules or any(one and os.path.isdir(one) for one in folders):
            return path
        return modules[0]

    def _folder(self, module: str) -> str | None:
        """Where the sources of a module are, or would be."""
        version = self._versions.get(module, "")
        if replacement := self._modfile.replacement(module):
            module, version = replacement
            if not version:
                return os.path.join(self._root, module)
        if not is_import_path(module) or not is_import_path(version):
            return None
        return os.path.join(self._cache, f"{escaped(module)}@{escaped(version)}")

    def _read(self, folder: str, path: str, own: str | None = None) -> GoPackage | None:
        files = tuple(self._heads(folder))
        return GoPackage(path, files, own) if files else None

    def _heads(self, folder: str) -> Iterator[GoFile]:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, _ENTRIES_LIMIT)]
        except OSError:
            return
        for name in sorted(names):
            if not name.endswith(".go") or name.endswith("_test.go") or name[0] in "._":
                continue
            if self._files >= _FILES_LIMIT or self._bytes >= _BYTES_LIMIT:
                self.complete = False
                return
            data = bounded_content(os.path.join(folder, name), _HEAD_LIMIT, head=True)
            self._files += 1
            self._bytes += len(data or b"")
            if data and (file := read_head(name, data)):
                yield file

    def _nested(self, folder: str) -> bool:
        """Tell whether a folder belongs to another module within the project."""
        parts = folder.split("/") if folder else []
        return any(
            os.path.exists(os.path.join(self._root, *parts[: count + 1], "go.mod"))
            for count in range(len(parts))
        )

    def _text(self, name: str) -> str:
        data = bounded_content(os.path.join(self._root, name), _SUMS_LIMIT)
        return (data or b"").decode("utf-8", "replace")


def _prefixes(path: str) -> Iterator[str]:
    """A path and those it begins with, the longest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]
