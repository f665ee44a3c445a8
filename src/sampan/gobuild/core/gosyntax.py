"""The head of a Go file: its package, its imports, and for which systems it is built.

Source: the Go specification (source file organization), `go help buildconstraint`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Set
from typing import Final

from sampan.base.record import record
from sampan.gobuild.core.levels import LEVELS

__all__ = ["GoFile", "built_for", "read_head"]

_WORD: Final = re.compile(
    r"\s+|//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|[\w.]+|[();]", re.S
)
_CONSTRAINT_WORD: Final = re.compile(r"\s*(\|\||&&|[!()]|[\w.]+)")
_OLDER: Final = re.compile(r"//\s*\+build\s+(\S.*)")
_RANK: Final = {"||": 1, "&&": 2, "!": 3}
_CONSTRAINT_LIMIT: Final = 4000
_UNIX: Final = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios linux netbsd openbsd solaris".split()
)
_SYSTEMS: Final = _UNIX | {"js", "nacl", "plan9", "wasip1", "windows", "zos"}
_MACHINES: Final = frozenset(
    {*LEVELS, "loong64", "s390x", "wasm", "sparc64", "ppc", "riscv", "armbe", "arm64be"}
)
# What most machines have; a file for one of them is a file for the system.
_USUAL: Final = ("amd64", "arm64")


@record
class GoFile:
    """One file; `constraint` is as behind `//go:build`, empty without.

    `line_of_c` is the line of `import "C"`, 0 without.
    """

    name: str
    package: str
    imports: tuple[str, ...]
    constraint: str = ""
    line_of_c: int = 0


def read_head(name: str, data: bytes) -> GoFile | None:
    """Return what the head of a file says; None when it is no Go file."""
    constraint = ""
    older: list[str] = []
    words: list[str] = []
    line_of_c = 0
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    for match in _words(text):
        word = match[0]
        if words:
            pass
        elif word.startswith("//go:build "):
            constraint = word[len("//go:build ") :].strip()
        elif tags := _OLDER.match(word):
            older.append(_translated(tags[1]))
        if not word.startswith(("//", "/*")):
            words.append(word)
        if word == '"C"' and not line_of_c:
            line_of_c = text.count("\n", 0, match.start()) + 1
    if len(words) < 2 or words[0] != "package":
        return None
    imports = [one[1:-1] for one in words[2:] if one[0] in '"`']
    constraint = constraint or " && ".join(older)
    return GoFile(name, words[1], tuple(dict.fromkeys(imports)), constraint, line_of_c)


def _translated(line: str) -> str:
    """Return what a `+build` line says: spaces are or, commas are and."""
    options = (f"({' && '.join(one.split(','))})" for one in line.split())
    return f"({' || '.join(options)})"


def _words(text: str) -> Iterator[re.Match[str]]:
    """Yield the words and comments before the first declaration that is no import."""
    at, previous, inside, count = 0, "", False, 0
    while match := _WORD.match(text, at):
        at = match.end()
        word = match[0]
        if word.isspace():
            continue
        if word.startswith(("//", "/*")):
            yield match
            continue
        if inside:
            inside = word != ")"
        elif word == "(" and previous == "import":
            inside = True
        elif count >= 2 and not _continues(word, previous):
            return
        yield match
        previous = word
        count += 1


def _continues(word: str, previous: str) -> bool:
    """Tell whether a word outside of parentheses still belongs to imports."""
    if word in ("import", ";"):
        return True
    named = re.fullmatch(r"[\w.]+", previous) is not None and previous != "import"
    if word[0] in '"`':
        return previous == "import" or named
    return previous == "import"


def built_for(file: GoFile, goos: str) -> bool:
    """Tell whether a file is built for a system, on a usual architecture, with cgo or without."""
    parts = file.name.removesuffix(".go").split("_")[1:]
    machine = parts.pop() if parts and parts[-1] in _MACHINES else ""
    system = parts[-1] if parts and parts[-1] in _SYSTEMS else ""
    if system not in ("", goos) or machine not in ("", *_USUAL):
        return False
    return not file.constraint or _holds_somewhere(file.constraint, goos)


@functools.lru_cache(maxsize=10_000)
def _holds_somewhere(constraint: str, goos: str) -> bool:
    tags = {goos, "gc"} | ({"unix"} if goos in _UNIX else set())
    return any(
        _holds(constraint, tags | {machine} | more)
        for machine in _USUAL
        for more in (set[str](), {"cgo"})
    )


def _holds(constraint: str, tags: Set[str]) -> bool:
    """Evaluate a constraint with two stacks; what cannot be read leaves nothing out."""
    values: list[bool] = []
    waiting: list[str] = []
    at = 0
    if len(constraint) > _CONSTRAINT_LIMIT:
        return True
    try:
        while match := _CONSTRAINT_WORD.match(constraint, at):
            at = match.end()
            word = match[1]
            if word in ("!", "("):
                waiting.append(word)
            elif word == ")":
                while waiting[-1] != "(":
                    _apply(waiting.pop(), values)
                waiting.pop()
            elif word in _RANK:
                while waiting and _RANK.get(waiting[-1], 0) >= _RANK[word]:
                    _apply(waiting.pop(), values)
                waiting.append(word)
            else:
                values.append(word in tags or re.fullmatch(r"go1(?:\.\d+)?", word) is not None)
        while waiting:
            _apply(waiting.pop(), values)
    except (IndexError, KeyError):
        return True
    return values[0] if len(values) == 1 else True


def _apply(operator: str, values: list[bool]) -> None:
    last = values.pop()
    if operator == "!":
        values.append(not last)
        return
    first = values.pop()
    values.append({"&&": first and last, "||": first or last}[operator])
