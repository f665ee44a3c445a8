"""Do the programs of an image fit its platform? Fed with its files, one after the other."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.ship.core.elf import read_binary

__all__ = ["Verdict", "entry_of"]

_PATH: Final = tuple("/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin".split())


def entry_of(config: Mapping[str, Any]) -> str:
    """Return the program that an image runs, as its configuration names it."""
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return str(words[0]) if words else ""


@dataclass(slots=True)
class Verdict:
    """`architecture` is the image's; `entry` the program that it runs."""

    architecture: str
    entry: str
    checked: int = 0
    foreign: dict[str, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _links: dict[str, str] = field(default_factory=dict)
    _interpreters: dict[str, str] = field(default_factory=dict)

    def add_name(self, path: str, link: str = "") -> None:
        """Note that there is something at a path, or a link to another one."""
        self._names.add(path)
        if link:
            self._links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))

    def add_program(self, path: str, head: bytes) -> None:
        """Look at an executable file's first bytes."""
        found = read_binary(head)
        if found is None:
            return
        self.checked += 1
        if found.architecture != self.architecture:
            self.foreign[path] = found.architecture or "an unknown machine"
        if found.interpreter:
            self._interpreters[path] = found.interpreter

    def problems(self) -> Sequence[tuple[str, str]]:
        """Return what will not run, each with what to do about it."""
        entry = self._resolved(self._found_entry())
        found = []
        if entry in self.foreign:
            found.append(
                (
                    f"{entry} is for {self.foreign[entry]}, the image for {self.architecture}",
                    "build it for the image's platform: declare ARG TARGETOS TARGETARCH in the "
                    "stage that compiles and pass GOOS=$TARGETOS GOARCH=$TARGETARCH",
                )
            )
        needed = self._interpreters.get(entry, "")
        if needed and self._resolved(needed) not in self._names:
            found.append(
                (
                    f"{entry} needs {needed}, which the image does not have",
                    "build it static (Go: CGO_ENABLED=0), or use a base image with its C library",
                )
            )
        if self.entry.startswith("/") and entry not in self._names:
            found.append(
                (
                    f"the image runs {self.entry}, which it does not have",
                    "compare ENTRYPOINT and CMD with what COPY puts there",
                )
            )
        return found

    def _found_entry(self) -> str:
        """Return the entry's path; one without a slash is looked for as a shell would."""
        if "/" not in self.entry:
            for folder in _PATH:
                if self._resolved(f"{folder}/{self.entry}") in self._names:
                    return f"{folder}/{self.entry}"
        return self.entry

    def _resolved(self, path: str) -> str:
        """Follow links, of directories too, as far as they lead."""
        for _ in range(32):
            parts = path.split("/")
            for end in range(2, len(parts) + 1):
                target = self._links.get("/".join(parts[:end]))
                if target is not None:
                    path = posixpath.normpath("/".join((target, *parts[end:])))
                    break
            else:
                return path
        return path
