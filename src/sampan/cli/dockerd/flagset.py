"""Flags as dockerd reads them: pflag's syntax and pflag's words when something is wrong.

`--name=value`, `--name value`, `-n value`, `-nvalue`, `-n=value`, several short ones behind one
dash (`-Dl debug`), and a bool without a value means true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.base.units import parse_bool, parse_size_bytes

__all__ = ["Flag", "HelpWanted", "go_text", "parse_flags"]

Check = Callable[[str], str]
"""Returns a value of a list in its final form; raises InvalidError with the reason."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `kind` is string, bool, int, bytes, list, map, ulimits or pools."""

    name: str
    kind: str
    help: str
    default: Any = None
    short: str = ""
    key: str = ""
    """The name in the configuration file, where it is another."""

    check: Check | None = field(default=None, repr=False)
    later: bool = False
    """Known, but not supported yet: refused when it asks for anything but the default."""

    @property
    def shown(self) -> str:
        """The name as error messages have it: `-D, --debug`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class HelpWanted(Exception):
    """`--help` was given."""


_REPEATED: Final = ("list", "map", "ulimits", "pools")


def parse_flags(flags: Sequence[Flag], words: Sequence[str]) -> Mapping[str, Any]:
    """Return the values of the flags that were given, by name.

    Lists come as lists of texts, maps as dictionaries. Raises InvalidError in pflag's words,
    HelpWanted.
    """
    return _Parser(flags, words).values


class _Parser:
    def __init__(self, flags: Sequence[Flag], words: Sequence[str]) -> None:
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in flags if flag.short}
        self._words = list(words)
        self.values: dict[str, Any] = {}
        wants_help = False
        while self._words:
            word = self._words.pop(0)
            if word == "--":
                self._refuse_arguments(self._words)
                break
            if word in ("--help", "-h"):
                wants_help = True
            elif word.startswith("--"):
                self._take_long(word)
            elif word.startswith("-") and word != "-":
                self._take_short(word)
            else:
                self._refuse_arguments([word])
        if wants_help:
            raise HelpWanted

    def _refuse_arguments(self, words: Sequence[str]) -> None:
        if words:
            raise InvalidError(
                "\"dockerd\" accepts no arguments.\nSee 'dockerd --help'.\n\n"
                "Usage:  dockerd [OPTIONS]\n\nA self-sufficient runtime for containers."
            )

    def _take_long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        if not name or name.startswith("-"):
            raise _usage(f"bad flag syntax: {word}")
        flag = self._long.get(name)
        if flag is None:
            raise _usage(f"unknown flag: --{name}")
        if not equals:
            if flag.kind == "bool":
                value = "true"
            elif self._words:
                value = self._words.pop(0)
            else:
                raise _usage(f"flag needs an argument: {word}")
        self._set(flag, value)

    def _take_short(self, word: str) -> None:
        cluster = word[1:]
        while cluster:
            letter, rest = cluster[0], cluster[1:]
            flag = self._short.get(letter)
            if flag is None:
                raise _usage(f"unknown shorthand flag: {letter!r} in -{cluster}")
            cluster = ""
            if rest.startswith("="):
                value = rest[1:]
            elif flag.kind == "bool":
                value, cluster = "true", rest
            elif rest:
                value = rest
            elif self._words:
                value = self._words.pop(0)
            else:
                raise _usage(f"flag needs an argument: {letter!r} in -{letter}")
            self._set(flag, value)

    def _set(self, flag: Flag, text: str) -> None:
        try:
            value = _read(flag, text)
        except InvalidError as error:
            raise _usage(f'invalid argument "{text}" for "{flag.shown}" flag: {error}') from None
        if flag.kind == "map":
            self.values.setdefault(flag.name, {}).update(value)
        elif flag.kind in _REPEATED:
            self.values.setdefault(flag.name, []).append(value)
        else:
            self.values[flag.name] = value


def _usage(message: str) -> InvalidError:
    return InvalidError(f"Status: {message}\nSee 'dockerd --help'., Code: 125")


def _read(flag: Flag, text: str) -> Any:
    if flag.check is not None:
        text = flag.check(text)
    if flag.kind == "bool":
        try:
            return parse_bool(text)
        except ValueError:
            raise InvalidError(f'strconv.ParseBool: parsing "{text}": invalid syntax') from None
    if flag.kind == "int":
        try:
            return int(text.replace("_", "x"), 0)
        except ValueError:
            raise InvalidError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if flag.kind == "bytes":
        try:
            return parse_size_bytes(text)
        except ValueError:
            raise InvalidError(f"invalid size: '{text}'") from None
    if flag.kind == "map":
        name, _, value = text.partition("=")
        return {name: value}
    return text


def go_text(value: Any) -> str:
    """Return a value as Go's `%v` prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value))
        return f"map[{inner}]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(go_text, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "<nil>" if value is None else str(value)
