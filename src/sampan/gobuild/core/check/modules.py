"""The modules of a project and their packages: what a build of some of them needs.

A package belongs to the nearest go.mod above it. An import is followed within the project: into the
same module, into one that `replace` or go.work names, and nowhere else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence

from sampan.base.record import changed
from sampan.gobuild.core.check.finding import SourceFile
from sampan.gobuild.core.check.gofiles import GoNeeds, GoSource, always_built, summed
from sampan.gobuild.core.modfile import ModFile, read_modfile

__all__ = ["GoTree", "joined", "together"]


def joined(folder: str, path: str) -> str | None:
    """Return a path below a directory of the project, empty for the root; None outside of it."""
    found = posixpath.normpath(posixpath.join(folder, path))
    if found.startswith(("/", "..")):
        return None
    return "" if found == "." else found


def together(needs: Iterable[GoNeeds]) -> GoNeeds:
    """Return what several builds need, with the first reason for cgo and the newest Go."""
    listed = list(needs)
    cgo = next((one for one in listed if one.cgo), GoNeeds())
    return GoNeeds(
        max((one.go_version for one in listed), key=_version, default=""),
        cgo.cgo,
        cgo.cgo_remedy,
        any(one.libc_names for one in listed),
        any(one.tls_client for one in listed),
        any(one.zones for one in listed),
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


class GoTree:
    """The Go files of a project by package and module."""

    def __init__(self, sources: Iterable[GoSource], modules: Iterable[SourceFile] = ()) -> None:
        self._packages: dict[str, list[GoSource]] = {}
        for source in sources:
            self._packages.setdefault(source.folder, []).append(source)
        self._modules: dict[str, ModFile] = {}
        self._workspaces: dict[str, ModFile] = {}
        for file in modules:
            folder, _, name = file.path.rpartition("/")
            listed = self._modules if name == "go.mod" else self._workspaces
            listed[folder] = read_modfile(file.text)
        self._links: dict[str, Mapping[str, str]] = {}
        self._known: dict[tuple[str | None, Sequence[str] | None], GoNeeds] = {}
        every = (one for files in self._packages.values() for one in files)
        self.cgo = any(one.cgo or one.cgo_modules for one in every) or any(
            summed((), [module]).cgo for module in self._modules.values()
        )
        """Whether anything in it may need cgo, however it is built."""
        self.folders = {
            "/".join(parts[:count])
            for folder in (*self._packages, *self._modules)
            for parts in [folder.split("/")]
            for count in range(len(parts) + 1)
        }

    def has(self, folder: str, name: str) -> bool:
        """Tell whether a directory has a go.mod or Go file of that name, or such a directory."""
        path = joined(folder, name)
        if path is None:
            return False
        above, _, last = path.rpartition("/")
        if last in ("go.mod", "go.sum"):
            return above in self._modules
        files = self._packages.get(above, ())
        return path in self.folders or any(one.path == path for one in files)

    def needs(self, folder: str | None, patterns: Sequence[str] | None = None) -> GoNeeds:
        """Return what `go build PATTERNS` needs that runs in a directory of the project.

        None stands for what is not known: then it is all of the module, but cgo only when each of
        its programs needs it; without a directory it is that of the only module, or nothing.
        """
        key = (folder, patterns)
        if key not in self._known:
            self._known[key] = self._needs(folder, patterns)
        return self._known[key]

    def _needs(self, folder: str | None, patterns: Sequence[str] | None) -> GoNeeds:
        if folder is None:
            if len(self._modules) > 1:
                return GoNeeds()
            folder = next(iter(self._modules), "")
            patterns = None
        if patterns is None:
            # The same for all directories of the module.
            whole = self._module_of(folder) or ""
            return self._any(folder) if folder == whole else self.needs(whole)
        parts = [self._pattern(folder, one) for one in patterns or (".",)]
        known = [one for one in parts if one is not None]
        return together(known) if len(known) == len(parts) else self.needs(folder)

    def _any(self, folder: str) -> GoNeeds:
        """What a build of packages that are not known needs."""
        files = self._below(folder, True)
        whole = self._of(files, folder, False)
        programs = {one.folder for one in files if one.main and always_built(one)}
        if whole.cgo and len(programs) > 1:
            each = [self._of(self._packages[one], folder, True) for one in sorted(programs)]
            if not all(one.cgo for one in each):
                return changed(whole, cgo="", cgo_remedy="")
        return whole

    def _pattern(self, folder: str, pattern: str) -> GoNeeds | None:
        """What one pattern needs; None when it cannot be said which packages are meant."""
        if "@" in pattern:
            return GoNeeds()
        path = self._path(folder, pattern.removesuffix("...").rstrip("/") or ".")
        if path is None:
            # A package of another module; where there is no go.mod, paths say nothing.
            foreign = "." in pattern.split("/")[0].lstrip(".") and bool(self._modules)
            return GoNeeds() if foreign else None
        if path.endswith(".go"):
            above = self._packages.get(path.rpartition("/")[0], ())
            found = [one for one in above if one.path == path]
            return self._of(found, folder, True) if found else None
        if pattern.endswith("..."):
            found = self._below(path, False)
            return self._of(found, path, False) if found else None
        return self._of(self._packages[path], path, True) if path in self._packages else None

    def _path(self, folder: str, pattern: str) -> str | None:
        """The directory of the project, or the file, that a pattern or an import path names."""
        if pattern.startswith(".") or pattern.endswith(".go"):
            return joined(folder, pattern)
        for name, place in self._linked(self._module_of(folder)).items():
            if pattern == name or pattern.startswith(f"{name}/"):
                return joined(place, "." + pattern[len(name) :])
        return None

    def _module_of(self, folder: str) -> str | None:
        """The directory of the nearest go.mod above, None without one."""
        while folder not in self._modules:
            if not folder:
                return None
            folder = folder.rpartition("/")[0]
        return folder

    def _linked(self, module: str | None) -> Mapping[str, str]:
        """The modules that a module sees in the project: path to directory, the longest first."""
        if module is None:
            return {}
        if module not in self._links:
            found = {self._modules[module].module: module}
            for (name, _), (path, version) in self._modules[module].replaced.items():
                place = None if version else joined(module, path)
                if place is not None and place in self._modules:
                    found[name] = place
            for above, workspace in self._workspaces.items():
                used = {joined(above, path) for path in workspace.used}
                if module in used:
                    own = [one for one in used if one in self._modules]
                    found |= {self._modules[one].module: one for one in own}
            found.pop("", None)
            self._links[module] = dict(sorted(found.items(), key=lambda one: -len(one[0])))
        return self._links[module]

    def _below(self, folder: str, whole: bool) -> list[GoSource]:
        """The files below a directory in its module; `whole`: of all of the module."""
        module = self._module_of(folder)
        start = (module or "") if whole else folder
        return [
            one
            for path, files in self._packages.items()
            if not start or path == start or path.startswith(f"{start}/")
            if self._module_of(path) == module
            for one in files
        ]

    def _of(self, start: Collection[GoSource], folder: str, named: bool) -> GoNeeds:
        """What files and all that they import need; `named` programs are built, whatever others."""
        modules = [self._module_of(folder)]
        found = {one.path: one for one in start}
        if named and modules == [None]:
            # Without a go.mod imports cannot be told: the packages that are no programs count.
            programs = {
                path for path, files in self._packages.items() if any(f.main for f in files)
            }
            found |= {one.path: one for one in self._below("", True) if one.folder not in programs}
        waiting = [one for one in start if always_built(one)]
        while waiting:
            source = waiting.pop()
            module = self._module_of(source.folder)
            if module not in modules:
                modules.append(module)
            for path in source.imports:
                place = self._path(source.folder, path) if module is not None else None
                for one in self._packages.get(place, ()) if place is not None else ():
                    if one.path not in found:
                        found[one.path] = one
                        if always_built(one):
                            waiting.append(one)
        several = {one.folder for one in start if one.main and not named}
        required = [self._modules[one] for one in modules if one is not None]
        return summed(found.values(), required, several)
