"""Which packages a program is made of, and by which chain of imports each comes in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sampan.base.record import record
from sampan.gobuild.core.gosyntax import GoFile, built_for

__all__ = ["GoPackage", "Reached", "reached_packages"]


@record
class GoPackage:
    """A package and its files; `folder` is where it is within the project, None elsewhere."""

    path: str
    files: tuple[GoFile, ...]
    folder: str | None = None

    @property
    def program(self) -> bool:
        """Whether it is a command."""
        return any(file.package == "main" for file in self.files)

    @property
    def title(self) -> str:
        """What people call it: `main` for a command, with its folder when that is not the root."""
        if not self.program or self.folder is None:
            return self.path
        return "main" if self.folder == "" else f"main ({self.folder})"

    def imports(self, goos: str) -> tuple[str, ...]:
        """Return what the files for a system import."""
        names = [name for file in self.files if built_for(file, goos) for name in file.imports]
        return tuple(dict.fromkeys(names))


@record
class Reached:
    """A package of a build, and the titles of those that lead to it, its own last."""

    package: GoPackage
    chain: tuple[str, ...]


def reached_packages(
    own: Sequence[GoPackage], load: Callable[[str], GoPackage | None], goos: str
) -> list[Reached]:
    """Return every package of the project's builds for a system, by the shortest chains.

    They begin at the commands; what no command imports begins its own. `load` gives the package
    of an import, None for the standard library and what is not there.
    """
    found: dict[str, Reached] = {}
    _spread([one for one in own if one.program], load, goos, found)
    for one in own:
        _spread([one], load, goos, found)
    return list(found.values())


def _spread(
    starts: Iterable[GoPackage],
    load: Callable[[str], GoPackage | None],
    goos: str,
    found: dict[str, Reached],
) -> None:
    """Add all that is imported from some packages on, the nearest first."""
    waiting: deque[Reached] = deque()

    def arrive(package: GoPackage, before: tuple[str, ...]) -> None:
        if package.path not in found:
            found[package.path] = Reached(package, (*before, package.title))
            waiting.append(found[package.path])

    for start in starts:
        arrive(start, ())
    while waiting:
        current = waiting.popleft()
        for name in current.package.imports(goos):
            if name not in found and (package := load(name)):
                arrive(package, current.chain)
