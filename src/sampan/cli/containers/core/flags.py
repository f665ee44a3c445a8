"""Flags as Docker's command line takes them: `-it`, `-p80`, `--name=x`, `--rm=false`, `--`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from sampan.base.errors import InvalidError

__all__ = ["Flag", "FlagError", "Kind", "Parsed", "parse"]


class FlagError(InvalidError):
    """A flag that does not exist, lacks its value, or has one that cannot be right."""


class Kind(NamedTuple):
    """What a flag's value is: the word that help shows, how a text becomes a value."""

    word: str
    parse: Callable[[str], Any]
    repeated: bool = False
    bare: str | None = None
    """The text that a flag without a value stands for; None when it needs one."""


class Flag(NamedTuple):
    """One flag; `default` is the value when it is not given, for a repeated one the empty list."""

    name: str
    kind: Kind
    help: str = ""
    short: str = ""
    default: Any = None
    hidden: bool = False
    alias: str = ""
    """The flag that this one is another name of."""

    @property
    def shown(self) -> str:
        """The flag as messages name it."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Parsed(NamedTuple):
    """The values of all flags by name, which of them were given, and the other arguments."""

    values: dict[str, Any]
    given: frozenset[str]
    arguments: list[str]

    def text(self, name: str) -> str:
        """The value of a flag that takes a text."""
        return cast(str, self.values[name] or "")

    def on(self, name: str) -> bool:
        """The value of a flag that is true or false."""
        return bool(self.values[name])

    def number(self, name: str) -> int:
        """The value of a flag that takes a number; 0 when it has none."""
        return cast(int, self.values[name] or 0)

    def each(self, name: str) -> list[Any]:
        """The values of a flag that may be given more than once."""
        return cast(list[Any], self.values[name])


def parse(flags: Sequence[Flag], words: Sequence[str], interspersed: bool = True) -> Parsed:
    """Return what `words` say; FlagError with Docker's words.

    Without `interspersed` everything after the first argument is an argument, as in `run`.
    """
    reader = _Reader(flags)
    rest = list(words)
    arguments: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            if not interspersed:
                arguments += rest
                break
        elif word.startswith("--"):
            reader.long(word[2:], rest)
        else:
            reader.shorts(word[1:], rest)
    return Parsed(reader.values, frozenset(reader.given), arguments)


class _Reader:
    """Collects values; what a flag's text is worth is its kind's affair."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in flags if flag.short}
        self.given: set[str] = set()
        self.values: dict[str, Any] = {
            flag.name: ([] if flag.kind.repeated else flag.default)
            for flag in flags
            if not flag.alias
        }

    def long(self, word: str, rest: list[str]) -> None:
        """Take `name`, `name=value`, or `name` with the next word as its value."""
        name, equals, text = word.partition("=")
        flag = self._long.get(name)
        if not name or flag is None:
            raise FlagError(f"unknown flag: --{name}" if name else f"bad flag syntax: --{word}")
        if not equals:
            if flag.kind.bare is not None:
                text = flag.kind.bare
            elif rest:
                text = rest.pop(0)
            else:
                raise FlagError(f"flag needs an argument: --{name}")
        self._set(flag, text)

    def shorts(self, letters: str, rest: list[str]) -> None:
        """Take single letters: flags without values up to one that takes what follows."""
        while letters:
            cluster = letters
            letter, letters = letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                raise FlagError(f"unknown shorthand flag: {letter!r} in -{cluster}")
            if letters.startswith("="):
                text, letters = letters[1:], ""
            elif flag.kind.bare is not None:
                text = flag.kind.bare
            elif letters:
                text, letters = letters, ""
            elif rest:
                text = rest.pop(0)
            else:
                raise FlagError(f"flag needs an argument: {letter!r} in -{cluster}")
            self._set(flag, text)

    def _set(self, flag: Flag, text: str) -> None:
        name = flag.alias or flag.name
        flag = self._long[name]
        try:
            value = flag.kind.parse(text)
        except ValueError as error:
            raise FlagError(_invalid(flag, text, error)) from None
        except InvalidError as error:
            raise FlagError(_invalid(flag, text, error)) from None
        self.given.add(name)
        if flag.kind.repeated:
            self.values[name].append(value)
        else:
            self.values[name] = value


def _invalid(flag: Flag, text: str, error: Exception) -> str:
    shown = text.replace('"', '\\"')
    return f'invalid argument "{shown}" for "{flag.shown}" flag: {error}'
