"""`sampan go`: finds out which command of the Go doctor is meant and imports only that one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, cast

from sampan.base.errors import SampanError
from sampan.base.nearest import nearest

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "targets": "The table of platforms, levels and CGO_ENABLED: what compiles, what it needs.",
    "check": "What in a project cannot work or will surprise; --fix repairs what is safe.",
    "inspect": "What a binary is: platform, level, cgo, libraries; and where it runs.",
    "build": "Cross-build a matrix of targets, inspect and prove each.",
    "prove": "Run a binary on the emulated processor of a device.",
    "matrix": "Write a CI matrix of targets that exist, or verify one.",
    "doc": "`doc nocgo`: what the standard library does differently without cgo.",
    "explain": "From a log, a trace or kernel lines to the cause in the build settings.",
}


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code: 0 fine, 1 findings or failure, 2 bad usage."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        guess = nearest(name, list(COMMANDS))
        hint = f" (did you mean {guess}?)" if guess else ""
        print(f"sampan go: no such command: {name}{hint}", file=sys.stderr)
        return 2
    run = cast(Callable[[Sequence[str]], int], import_module(f"sampan.cli.go_{name}").main)
    try:
        return run(rest)
    except SampanError as error:
        print(f"sampan go {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1


def _help() -> str:
    lines = ["usage: sampan go COMMAND [ARGUMENTS]", "", "The Go doctor.", ""]
    lines += [f"  {name:<8} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(lines)
