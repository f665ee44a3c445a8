"""Images as archives: `save`, `load`, `import`; and where an archive is written to."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, LIST, STRING
from sampan.cli.containers.progress import show
from sampan.cli.containers.session import Session
from sampan.cli.containers.streams import write_all
from sampan.cli.containers.terminal import is_terminal
from sampan.engine.client.transport import Response

__all__ = ["IMPORT", "LOAD", "SAVE", "check_output", "incoming", "outgoing"]

_READ_BYTES = 1 << 18


def outgoing(response: Response, path: str) -> None:
    """Write an archive to a file, all of it or nothing, or to standard output."""
    if not path:
        for chunk in response.chunks():
            write_all(1, chunk)
        return
    descriptor, name = tempfile.mkstemp(prefix=".sampan-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in response.chunks():
                file.write(chunk)
        os.chmod(name, 0o600)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def check_output(path: str, verb: str) -> None:
    """Refuse a terminal, and a place that no file can be in, before the daemon is asked."""
    if not path:
        if is_terminal(1):
            raise Failure(f"cowardly refusing to {verb} to a terminal. Use the -o flag or redirect")
        return
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise Failure(f"invalid output path: stat {directory}: no such file or directory")
    if os.path.isdir(path) or (os.path.exists(path) and not os.path.isfile(path)):
        raise Failure(f'invalid output path: "{path}" must be a regular file')


@contextlib.contextmanager
def incoming(path: str) -> Iterator[Iterable[bytes]]:
    """Give the bytes of a file, or of standard input without one."""
    if not path:
        yield iter(lambda: os.read(0, _READ_BYTES), b"")
        return
    try:
        file = open(path, "rb", buffering=0)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise Failure(f"open {path}: {words}") from None
    with file:
        yield iter(lambda: file.read(_READ_BYTES), b"")


def _save(session: Session, parsed: Parsed) -> int:
    path = parsed.text("output")
    try:
        check_output(path, "save")
    except Failure as failure:
        raise Failure(f"failed to save image: {failure}" if path else str(failure)) from None
    outgoing(session.images.save(parsed.arguments), path)
    return 0


def _load(session: Session, parsed: Parsed) -> int:
    path = parsed.text("input")
    if not path and is_terminal(0):
        raise Failure("requested load from stdin, but stdin is empty")
    quiet = parsed.on("quiet") or not is_terminal(1)
    with incoming(path) as archive:
        show(session.images.load(archive, quiet), sys.stdout)
    return 0


def _import(session: Session, parsed: Parsed) -> int:
    source, *rest = parsed.arguments
    values = (parsed.text("message"), parsed.each("change"), parsed.text("platform"))
    repository = rest[0] if rest else ""
    if source.startswith(("http://", "https://")):
        show(session.images.make(None, source, repository, "", *values), sys.stdout)
        return 0
    with incoming("" if source == "-" else source) as archive:
        show(session.images.make(archive, "-", repository, "", *values), sys.stdout)
    return 0


SAVE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _save,
    (Flag("output", STRING, "Write to a file, instead of STDOUT", "o"),),
    least=1,
)
LOAD = Command(
    "[OPTIONS]",
    _load,
    (
        Flag("input", STRING, "Read from tar archive file, instead of STDIN", "i"),
        Flag("quiet", BOOL, "Suppress the load output", "q"),
    ),
    most=0,
)
IMPORT = Command(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    _import,
    (
        Flag("change", LIST, "Apply Dockerfile instruction to the created image", "c"),
        Flag("message", STRING, "Set commit message for imported image", "m"),
        Flag("platform", STRING, "Set platform if server is multi-platform capable"),
    ),
    least=1,
    most=2,
)
