"""`run` and `create`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from sampan.base.errors import InvalidError, SampanError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.create import Surroundings, creation
from sampan.cli.containers.core.detach import DEFAULT_KEYS, detach_keys
from sampan.cli.containers.core.flags import Parsed
from sampan.cli.containers.core.run_flags import CREATE_FLAGS, RUN_FLAGS
from sampan.cli.containers.session import Session
from sampan.cli.containers.streams import Detached, join, proxied
from sampan.cli.containers.terminal import is_terminal, raw, resizing, size
from sampan.engine.client.client import ApiError
from sampan.engine.client.transport import Response

__all__ = ["CREATE", "RUN", "exit_code", "read_file"]

_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"


def _create(session: Session, parsed: Parsed) -> int:
    try:
        body = _body(session, parsed)
    except SampanError as error:
        more = "Run 'sampan create --help' for more information"
        raise Failure(f"sampan: {error}\n\n{more}", 125) from None
    print(_made(session, parsed, body))
    return 0


def _run(session: Session, parsed: Parsed) -> int:
    detached = parsed.on("detach")
    if detached and parsed.each("attach"):
        raise Failure("conflicting options: cannot specify both --attach and --detach")
    keys = detach_keys(parsed.text("detach-keys")) if parsed.text("detach-keys") else DEFAULT_KEYS
    body = _body(session, parsed, detached)
    if body["Tty"] and body["AttachStdin"] and not is_terminal(0):
        raise Failure("the input device is not a TTY")
    rows, columns = size()
    if rows:
        body["HostConfig"]["ConsoleSize"] = [rows, columns]
    container = _made(session, parsed, body)
    if detached:
        _started(session, container, None)
        print(container)
        return 0
    return _attached(session, parsed, body, container, keys)


def _body(session: Session, parsed: Parsed, detached: bool = False) -> dict[str, Any]:
    policy = parsed.text("pull")
    if policy not in ("always", "missing", "never"):
        raise InvalidError(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"'
        )
    return creation(parsed, _around(session), detached)


def _attached(
    session: Session, parsed: Parsed, body: dict[str, Any], container: str, keys: bytes
) -> int:
    """Start the container with its streams joined to the caller's; returns its exit code."""
    containers = session.containers
    terminal = body["Tty"]
    names = ("stdin", "stdout", "stderr")
    streams = [name for name in names if body[f"Attach{name.capitalize()}"]]
    remote = containers.attach(container, streams, detach_keys=parsed.text("detach-keys"))
    removed = body["HostConfig"].get("AutoRemove")
    waiting = containers.wait(container, "removed" if removed else "next-exit")
    try:
        _started(session, container, waiting if removed else None)
    except BaseException:
        remote.close()
        raise
    with contextlib.ExitStack() as around:
        if terminal:
            around.enter_context(raw())
            around.enter_context(resizing(lambda *now: containers.resize(container, *now)))
        if parsed.on("sig-proxy"):
            around.enter_context(proxied(lambda name: containers.kill(container, name)))
        try:
            join(remote, terminal, "stdin" in streams, keys)
        except Detached:
            return 0
        return exit_code(waiting)


def exit_code(waiting: Response) -> int:
    """Return the code that a container ended with, once it has."""
    import json

    found = json.loads(waiting.read())
    trouble = (found.get("Error") or {}).get("Message")
    if trouble:
        print(f"Error waiting for container: {trouble}", file=sys.stderr)
        return 125
    return int(found["StatusCode"])


def _started(session: Session, container: str, removal: Response | None) -> None:
    """Start it; a failure has the exit code that a shell would give."""
    try:
        session.containers.start(container)
    except ApiError as error:
        if removal is not None:
            removal.read()
        text = error.message
        code = 125
        missing = ("executable file not found", "no such file or directory")
        if any(words in text for words in missing):
            code = 127
        elif "permission denied" in text or "is a directory" in text:
            code = 126
        help_text = "Run 'sampan run --help' for more information"
        raise Failure(f"sampan: {error}\n\n{help_text}", code) from None


def _around(session: Session) -> Surroundings:
    return Surroundings(session.environment, os.getcwd(), read_file, session.address.path)


def read_file(name: str) -> str:
    """Return the text of a file that a flag names; InvalidError in Docker's words."""
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InvalidError(f"open {name}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise InvalidError(f"{name}: contains invalid utf8 bytes") from None


def _made(session: Session, parsed: Parsed, body: dict[str, Any]) -> str:
    """Create the container, after a pull if need be; returns its id."""
    policy = parsed.text("pull")
    with _id_file(parsed.text("cidfile")) as written:
        if policy == "always":
            _pull(session, parsed, body["Image"])
        name, platform = parsed.text("name"), parsed.text("platform")
        try:
            made = session.containers.create(body, name, platform)
        except ApiError as error:
            if error.status != 404 or "No such image" not in error.message or policy == "never":
                raise
            _pull(session, parsed, body["Image"], missing=True)
            made = session.containers.create(body, name, platform)
        for warning in made.get("Warnings") or ():
            print(f"WARNING: {warning}", file=sys.stderr)
        written.append(made["Id"])
    return str(made["Id"])


def _pull(session: Session, parsed: Parsed, image: str, missing: bool = False) -> None:
    from sampan.cli.containers.registry import pull_image
    from sampan.images.core.reference import parse_reference

    if missing:
        name = parse_reference(image).tagged().familiar
        print(f"Unable to find image '{name}' locally", file=sys.stderr)
    pull_image(session, image, parsed.text("platform"), parsed.on("quiet"), sys.stderr)


@contextlib.contextmanager
def _id_file(name: str) -> Iterator[list[str]]:
    """Hold the file for the container's id, which the block appends; none stays if it does not."""
    written: list[str] = []
    if not name:
        yield written
        return
    try:
        file = open(name, "x", encoding="ascii")
    except FileExistsError:
        raise InvalidError(
            f"container ID file found, make sure the other container isn't running or delete {name}"
        ) from None
    except OSError as error:
        raise InvalidError(f"failed to create the container ID file: {error}") from None
    try:
        with file:
            yield written
            file.write("".join(written))
    finally:
        if not written:
            os.unlink(name)


CREATE = Command(_USAGE, _create, CREATE_FLAGS, least=1, interspersed=False)
RUN = Command(_USAGE, _run, RUN_FLAGS, least=1, interspersed=False, runs_container=True)
