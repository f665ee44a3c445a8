"""Commands of Go in lines of shell: where they run, which packages, and cgo as they set it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sampan.base.record import changed, record
from sampan.gobuild.core.check.modules import joined
from sampan.gobuild.core.check.settings import NAMES

__all__ = ["BUILDING", "GoCommand", "Shell"]

BUILDING: Final = re.compile(
    r"(?<![\w-])(?:xx-go|go|\$[({]?(?:GO|GOCMD|GO_CMD|GOBIN|GO_BIN)\b[)}]?)\s+"
    r"(?:-C[ =]\S+\s+)?(?:build|install|test|run|vet)\b"
)
_VERBS: Final = frozenset(("build", "install", "test", "run", "vet"))
_GO: Final = re.compile(r"(?:[\w./~-]*/)?(?:xx-)?go|\$[({]?(?:GO|GOCMD|GO_CMD|GOBIN|GO_BIN)[)}]?")
_WORD: Final = re.compile(
    r"&&|\|\||[;&|()\n]"
    r"|(?:\$\{\{.*?\}\}|\$\{[^}]*\}|\$\([^()]*\)|\"(?:[^\"\\]|\\.)*\"|'[^']*'|\\.|[^\s;&|()\"'])+"
)
_WITH_VALUE: Final = frozenset(
    "o ldflags tags mod gcflags asmflags gccgoflags p C modfile overlay pgo pkgdir toolexec "
    "buildmode compiler installsuffix covermode coverpkg coverprofile run count timeout exec "
    "bench cpu parallel skip vet fuzz".split()
)
_BEFORE: Final = frozenset("if then else do ! { time exec sudo env command".split())
_SCRIPT_PLACE: Final = re.compile(r"\$\(dirname [^)]*\)|\$[({]?CURDIR[)}]?")
_WORKSPACE: Final = re.compile(r"\$\{?(?:GITHUB_WORKSPACE|CI_PROJECT_DIR)\}?")


_TEXT_LIMIT: Final = 20_000


@record
class GoCommand:
    """One `go build` or its like; None stands for a directory or packages that are not known.

    `cgo` is the value that CGO_ENABLED has by its own line, empty when the line does not say;
    `settings` are Go's variables as they are set and exported for it so far, as written; `output`
    is the name of what is built, empty when Go chooses it.
    """

    folder: str | None
    packages: tuple[str, ...] | None
    cgo: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    output: str = ""


class Shell:
    """A shell that starts in a directory of the project, as far as `cd` and Go are concerned."""

    def __init__(self, folder: str | None, rooted: bool = False) -> None:
        """`rooted`: the directory is one below `/`, as in an image."""
        self.folder = folder
        self._home = folder
        self._rooted = rooted
        self._exported: dict[str, str] = {}
        self._kept: list[str | None] = []

    def run(self, text: str) -> list[GoCommand]:
        """Return the commands of Go in a logical line; the shell stays where the line leaves it."""
        if "go" not in text.lower() and "cd" not in text and "popd" not in text:
            return []
        found: list[GoCommand] = []
        exported = ""
        for words in self._parts(text[:_TEXT_LIMIT]):
            own = dict(_assigned(words))
            value = own.get("CGO_ENABLED", exported)
            if own and not any(_GO.fullmatch(one) for one in words):
                exported = value
                self._exported |= own
            self._moved(words)
            settings = tuple((self._exported | own).items())
            found += (changed(one, settings=settings) for one in self._commands(words, value))
        if not found and BUILDING.search(text):
            # Within quotes, or behind what is not understood here.
            found.append(GoCommand(self.folder, None, exported))
        return found

    def _parts(self, text: str) -> Iterator[list[str]]:
        """The simple commands of a line; a group in parentheses keeps its directory to itself."""
        words: list[str] = []
        outside: list[str | None] = []
        for match in _WORD.finditer(text):
            word = match[0]
            if word not in ("&&", "||", ";", "&", "|", "(", ")", "\n"):
                words.append(word)
                continue
            yield words
            words = []
            if word == "(":
                outside.append(self.folder)
            elif word == ")" and outside:
                self.folder = outside.pop()
        yield words

    def _moved(self, words: list[str]) -> None:
        rest = [one.lstrip("@-+") if not index else one for index, one in enumerate(words)]
        while rest and (rest[0] in _BEFORE or re.match(r"\w+=", rest[0])):
            rest = rest[1:]
        if not rest or rest[0] not in ("cd", "pushd", "popd"):
            return
        before = self.folder
        if rest[0] == "popd":
            self.folder = self._kept.pop() if self._kept else None
            return
        if rest[0] == "pushd":
            self._kept.append(before)
        target = next((one for one in rest[1:] if not re.match(r"-.", one)), "")
        self.folder = self._place(target.replace('"', "").replace("'", ""))

    def _place(self, target: str) -> str | None:
        """The directory that a path leads to from here; None when it cannot be said."""
        base, path = self.folder, target
        if own := _SCRIPT_PLACE.match(target):
            base, path = self._home, target[own.end() :].lstrip("/") or "."
        elif own := _WORKSPACE.match(target):
            base, path = "", target[own.end() :].lstrip("/") or "."
        elif self._rooted and target.startswith("/"):
            base, path = "", target.lstrip("/") or "."
        if base is None or path in ("", "-") or re.search(r"[$`~*]", path):
            return None
        return joined(base, path)

    def _commands(self, words: list[str], cgo: str) -> Iterator[GoCommand]:
        for index, word in enumerate(words):
            if not _GO.fullmatch(word.lstrip("@-+")):
                continue
            rest = words[index + 1 :]
            folder = self.folder
            if rest and rest[0].startswith("-C"):
                path = rest[0][2:].lstrip("=") or (rest[1] if len(rest) > 1 else "")
                rest = rest[1 if len(rest[0]) > 2 else 2 :]
                folder = self._place(path.strip("\"'"))
            if rest and rest[0] in _VERBS:
                yield GoCommand(folder, _packages(rest[0], rest[1:]), cgo, (), _output(rest))
                return


def _assigned(words: list[str]) -> Iterator[tuple[str, str]]:
    """The variables of Go that a simple command sets."""
    for word in words:
        name, equals, value = word.lstrip("@-+").partition("=")
        if equals and name in NAMES:
            yield name, value.replace('"', "").replace("'", "")


def _output(words: list[str]) -> str:
    """The value of `-o`."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word.lstrip("-") == "o" or re.match(r"--?o=", word):
            return (word.partition("=")[2] or after).replace('"', "").replace("'", "")
    return ""


def _packages(verb: str, words: list[str]) -> tuple[str, ...] | None:
    """The packages that are named; None when a variable may name some."""
    found: list[str] = []
    variable = partly = skip = False
    for word in words:
        plain = word.replace('"', "").replace("'", "")
        if skip:
            skip = False
        elif re.match(r"\d*[<>]", plain):
            skip = plain.endswith((">", "<"))
        elif plain.startswith("-"):
            skip = "=" not in plain and plain.lstrip("-") in _WITH_VALUE
        elif re.search(r"[$`]", plain):
            # A variable by itself may be flags; what goes on behind it is a package.
            variable = True
            partly |= "/" in re.sub(r"\$\{\{.*?\}\}|\$[({][^)}]*[)}]", "", plain)
        elif plain and plain != "\\":
            found.append(plain)
            if verb == "run":
                break
    return None if partly or (variable and not found) else tuple(found)
