"""What a container command is, and how one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sampan.base.errors import SampanError
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.session import Session

__all__ = ["Command", "Failure", "each"]


class Failure(SampanError):
    """The command ends with this exit code, and with this message if there is one."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Command(NamedTuple):
    """A command: what may be written behind its name, and the function that does it."""

    usage: str
    run: Callable[[Session, Parsed], int]
    flags: tuple[Flag, ...] = ()
    least: int = 0
    most: int | None = None
    """The largest number of arguments; None for any."""
    interspersed: bool = True
    runs_container: bool = False
    """Whether its errors are told apart from the container's by exit code 125."""


def each(names: Iterable[str], act: Callable[[str], object], shown: bool = True) -> int:
    """Do `act` for each name and print the name; all failures are told at the end, as code 1."""
    failures = []
    for name in names:
        try:
            act(name)
        except SampanError as error:
            failures.append(str(error))
            continue
        if shown:
            print(name)
    if failures:
        raise Failure("\n".join(failures))
    return 0
