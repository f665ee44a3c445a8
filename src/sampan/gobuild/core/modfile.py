"""go.mod, go.work and go.sum as values: which modules at which versions, what replaces them.

Source: the Go modules reference (go.mod files, workspaces, module cache, go.sum files).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sampan.base.record import record

__all__ = ["ModFile", "escaped", "is_import_path", "read_modfile", "read_sums", "vendored_modules"]

_WORD: Final = re.compile(r"\"[^\"]*\"|`[^`]*`|=>|[()]|[^\s()\"`]+")
_LANGUAGE: Final = re.compile(r"\d+\.\d+", re.ASCII)
_PATH: Final = re.compile(r"[\w~-][\w.~+-]*(?:/[\w~-][\w.~+-]*)*", re.ASCII)
_VERSION: Final = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-([\w.-]+))?(?:\+[\w.-]+)?", re.ASCII)


@record
class ModFile:
    """`required` is versions by path; `replaced` is by path, or path and version.

    What replaces is a path and a version, which is empty for a directory. `go` is the version of
    the language, like 1.25; `direct` is what is required not only `// indirect`, in the order of
    the file; `used` is the directories of the modules of a go.work.
    """

    module: str
    required: Mapping[str, str]
    replaced: Mapping[tuple[str, str], tuple[str, str]]
    go: str = ""
    direct: tuple[str, ...] = ()
    used: tuple[str, ...] = ()

    def replacement(self, path: str) -> tuple[str, str] | None:
        """Return what stands for a module; None when it stands for itself."""
        version = self.required.get(path, "")
        return self.replaced.get((path, version)) or self.replaced.get((path, ""))


def read_modfile(text: str) -> ModFile:
    """Return what go.mod or go.work says; lines that are not understood are passed over."""
    module = go = ""
    direct: list[str] = []
    used: list[str] = []
    required: dict[str, str] = {}
    replaced: dict[tuple[str, str], tuple[str, str]] = {}
    for verb, words, note in _directives(text):
        if verb == "module" and words:
            module = words[0]
        elif verb == "go" and words and (match := _LANGUAGE.match(words[0])):
            go = match[0]
        elif verb == "use" and words:
            used.append(words[0])
        elif verb == "require" and len(words) == 2:
            required[words[0]] = words[1]
            if note.split()[:1] not in (["indirect"], ["indirect;"]):
                direct.append(words[0])
        elif verb == "replace" and "=>" in words:
            at = words.index("=>")
            before, after = words[:at], words[at + 1 :]
            if before and after:
                version = before[1] if len(before) > 1 else ""
                replaced[before[0], version] = (after[0], after[1] if len(after) > 1 else "")
    return ModFile(module, required, replaced, go, tuple(direct), tuple(used))


def _directives(text: str) -> Iterator[tuple[str, list[str], str]]:
    """Yield every verb, its words, and the comment behind them."""
    block = ""
    for line in text.splitlines():
        code, _, note = line.partition("//")
        words = [one.strip('"`') for one in _WORD.findall(code)]
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
            else:
                yield block, words, note
        elif words[1:] == ["("]:
            block = words[0]
        else:
            yield words[0], words[1:], note


def read_sums(text: str) -> dict[str, str]:
    """Return the newest version of every module whose content go.sum knows."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or words[1].endswith("/go.mod"):
            continue
        path, version = words[:2]
        if path not in found or _rank(version) > _rank(found[path]):
            found[path] = version
    return found


def _rank(version: str) -> tuple[Any, ...]:
    """A key that orders versions: a release is above what comes before it."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (-1,)
    numbers = tuple(int(one) for one in match.groups()[:3])
    if match[4] is None:
        return (*numbers, 1)
    parts = match[4].split(".")
    return (*numbers, 0, *((0, int(one), "") if one.isdigit() else (1, 0, one) for one in parts))


def vendored_modules(text: str) -> dict[str, str]:
    """Return the module of every package that vendor/modules.txt lists."""
    found: dict[str, str] = {}
    module = ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("# ") and len(words) > 1:
            module = words[1]
        elif len(words) == 1 and not line.startswith("#"):
            found[words[0]] = module
    return found


def is_import_path(path: str) -> bool:
    """Tell whether a text is a path of packages: elements without any way up or out."""
    return _PATH.fullmatch(path) is not None


def escaped(text: str) -> str:
    """Return a path or version as the module cache names it: `!a` for `A`."""
    return re.sub(r"[A-Z]", lambda match: f"!{match[0].lower()}", text)
