"""The `sampan` command: finds out which program is meant and imports only that one.

A program can also be reached by a link with its name: an `etcd` that points to `sampan` is an etcd.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import PurePath
from typing import NamedTuple, cast

__all__ = ["LINKS", "PROGRAMS", "Program", "main"]


class Program(NamedTuple):
    """A program of the distribution: its module has `main(arguments) -> exit code`."""

    module: str
    summary: str


PROGRAMS: dict[str, Program] = {
    "etcd": Program("sampan.cli.etcd", "Run an etcd v3 server; takes etcd's own flags."),
    "etcdutl": Program("sampan.cli.etcdutl", "Look after etcd's files while no server runs."),
    "demo": Program("sampan.cli.demo", "Start a store, use it, and show what happened."),
}
LINKS = ("etcd", "etcdutl")
"""Program names that work as the name of a link."""


def main() -> None:
    """Run the program that the name of the link or the first word names, and exit with its code."""
    words = sys.argv[1:]
    name = PurePath(sys.argv[0]).name
    if name not in LINKS:
        # Programs with flags of their own are not parsed by click, nor wait for its import.
        if not words or words[0] not in LINKS:
            from sampan.cli.commands import group

            group(prog_name="sampan")
            return
        name = words.pop(0)
    sys.exit(run(name, words))


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one program with its arguments and return its exit code."""
    program = import_module(PROGRAMS[name].module).main
    return cast(Callable[[Sequence[str]], int], program)(arguments)


if __name__ == "__main__":
    main()
