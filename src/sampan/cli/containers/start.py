"""`start`: again, and with streams if wanted."""

from __future__ import annotations

import contextlib
import sys

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.detach import DEFAULT_KEYS, detach_keys
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, STRING
from sampan.cli.containers.run import exit_code
from sampan.cli.containers.session import Session
from sampan.cli.containers.streams import Detached, join, proxied
from sampan.cli.containers.terminal import is_terminal, raw, resizing
from sampan.engine.client.client import ApiError

__all__ = ["START"]


def _start(session: Session, parsed: Parsed) -> int:
    names = parsed.arguments
    if not parsed.on("attach") and not parsed.on("interactive"):
        keys = parsed.text("detach-keys")
        return _all(session, names, keys)
    if len(names) > 1:
        raise Failure("you cannot start and attach multiple containers at once")
    return _attached(session, parsed, names[0])


def _all(session: Session, names: list[str], keys: str) -> int:
    failed = []
    for name in names:
        try:
            session.containers.start(name, keys)
        except ApiError as error:
            print(error, file=sys.stderr)
            failed.append(name)
            continue
        print(name, flush=True)
    if failed:
        raise Failure(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _attached(session: Session, parsed: Parsed, name: str) -> int:
    containers = session.containers
    shown = containers.inspect(name)
    container, terminal = shown["Id"], shown["Config"]["Tty"]
    stdin = parsed.on("interactive") and shown["Config"].get("OpenStdin", False)
    if terminal and stdin and not is_terminal(0):
        raise Failure("the input device is not a TTY")
    keys = detach_keys(parsed.text("detach-keys")) if parsed.text("detach-keys") else DEFAULT_KEYS
    streams = ["stdout", "stderr", *(["stdin"] if stdin else [])]
    remote = containers.attach(container, streams, detach_keys=parsed.text("detach-keys"))
    removed = shown["HostConfig"].get("AutoRemove")
    waiting = containers.wait(container, "removed" if removed else "next-exit")
    try:
        containers.start(container)
    except BaseException:
        remote.close()
        raise
    with contextlib.ExitStack() as around:
        if terminal:
            around.enter_context(raw())
            around.enter_context(resizing(lambda *now: containers.resize(container, *now)))
        elif parsed.on("sig-proxy"):
            around.enter_context(proxied(lambda signal: containers.kill(container, signal)))
        try:
            join(remote, terminal, stdin, keys)
        except Detached:
            return 0
        return exit_code(waiting)


START = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _start,
    (
        Flag("attach", BOOL, "Attach STDOUT/STDERR and forward signals", "a"),
        Flag("detach-keys", STRING, "Override the key sequence for detaching"),
        Flag("interactive", BOOL, "Attach container's STDIN", "i"),
        Flag("sig-proxy", BOOL, "Proxy received signals to the process", default=True),
    ),
    least=1,
)
