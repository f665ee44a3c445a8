"""Variables and labels: from flags and from files of `NAME=value` lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from sampan.base.errors import InvalidError
from sampan.cli.containers.core.flags import Kind

__all__ = ["ENVIRONMENT", "labels", "pairs", "variables"]

ReadFile = Callable[[str], str]


def _variable(text: str) -> str:
    if not text.partition("=")[0]:
        raise InvalidError(f"invalid environment variable: {text}")
    return text


ENVIRONMENT = Kind("list", _variable, repeated=True)


def variables(
    files: Iterable[str], given: Iterable[str], environment: Mapping[str, str], read: ReadFile
) -> list[str]:
    """Return Env: lines of files, then what was given; a bare name takes the caller's value."""
    found = []
    for file in files:
        for line in _lines(file, read(file)):
            if "=" in line:
                found.append(line)
            elif line in environment:
                found.append(f"{line}={environment[line]}")
    for text in given:
        bare = "=" not in text and text in environment
        found.append(f"{text}={environment[text]}" if bare else text)
    return found


def labels(files: Iterable[str], given: Iterable[str], read: ReadFile) -> dict[str, str]:
    """Return Labels of files and flags; the later wins, a bare key of a file does not count."""
    lines = [line for file in files for line in _lines(file, read(file)) if "=" in line]
    return pairs([*lines, *given])


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Return `key=value` texts as a dict; the later wins, a bare key has the empty value."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _lines(file: str, text: str) -> Iterator[str]:
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name:
            raise InvalidError(f"invalid env file ({file}): no variable name on line '{line}'")
        if any(letter.isspace() for letter in name):
            raise InvalidError(f"invalid env file ({file}): variable '{name}' contains whitespaces")
        if "\0" in line:
            raise InvalidError(f"invalid env file ({file}): invalid bytes at line {number}")
        yield line
