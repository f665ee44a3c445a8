"""`attach` and `exec`: joining what runs, or running one thing more in it."""

from __future__ import annotations

import contextlib
from typing import Any

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.detach import DEFAULT_KEYS, detach_keys
from sampan.cli.containers.core.environment import ENVIRONMENT, variables
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, LIST, STRING
from sampan.cli.containers.session import Session
from sampan.cli.containers.streams import Detached, join, proxied
from sampan.cli.containers.terminal import is_terminal, raw, resizing
from sampan.engine.client.client import ApiError

__all__ = ["ATTACH", "EXEC"]

_KEYS = Flag("detach-keys", STRING, "Override the key sequence for detaching")
_STOPPED = {
    "Paused": "You cannot attach to a paused container, unpause it first",
    "Restarting": "You cannot attach to a restarting container, wait until it is running",
}


def _keys(parsed: Parsed) -> bytes:
    text = parsed.text("detach-keys")
    return detach_keys(text) if text else DEFAULT_KEYS


def _attach(session: Session, parsed: Parsed) -> int:
    from sampan.cli.containers.run import exit_code

    containers = session.containers
    shown = containers.inspect(parsed.arguments[0])
    state, config = shown["State"], shown["Config"]
    if not state["Running"]:
        raise Failure("You cannot attach to a stopped container, start it first")
    for field, words in _STOPPED.items():
        if state.get(field):
            raise Failure(words)
    stdin = not parsed.on("no-stdin") and config.get("OpenStdin", False)
    terminal = config["Tty"]
    if terminal and stdin and not is_terminal(0):
        raise Failure("the input device is not a TTY")
    container, keys = shown["Id"], _keys(parsed)
    waiting = containers.wait(container)
    streams = ["stdout", "stderr", *(["stdin"] if stdin else [])]
    remote = containers.attach(container, streams, detach_keys=parsed.text("detach-keys"))
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


def _exec(session: Session, parsed: Parsed) -> int:
    from sampan.cli.containers.run import read_file

    name, *command = parsed.arguments
    terminal, stdin = parsed.on("tty"), parsed.on("interactive")
    detached = parsed.on("detach")
    if terminal and stdin and not detached and not is_terminal(0):
        raise Failure("the input device is not a TTY")
    keys = _keys(parsed)
    environment = variables(
        parsed.each("env-file"), parsed.each("env"), session.environment, read_file
    )
    body: dict[str, Any] = {
        "Cmd": command,
        "User": parsed.text("user"),
        "Privileged": parsed.on("privileged"),
        "Tty": terminal,
        "AttachStdin": stdin and not detached,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Detach": detached,
        "DetachKeys": parsed.text("detach-keys"),
        "WorkingDir": parsed.text("workdir"),
    }
    if environment:
        body["Env"] = environment
    containers = session.containers
    exec_id = containers.create_exec(name, body)
    try:
        if detached:
            containers.detach_exec(exec_id, terminal)
            return 0
        remote = containers.start_exec(exec_id, terminal)
    except ApiError as error:
        raise Failure(str(error), _start_code(error.message)) from None
    with contextlib.ExitStack() as around:
        if terminal:
            if stdin:
                around.enter_context(raw())
            around.enter_context(resizing(lambda *now: containers.resize_exec(exec_id, *now)))
        with contextlib.suppress(Detached):
            join(remote, terminal, stdin, keys)
            return int(containers.inspect_exec(exec_id)["ExitCode"] or 0)
    return 0


def _start_code(text: str) -> int:
    if "executable file not found" in text or "no such file or directory" in text:
        return 127
    return 126 if "permission denied" in text else 1


ATTACH = Command(
    "[OPTIONS] CONTAINER",
    _attach,
    (
        _KEYS,
        Flag("no-stdin", BOOL, "Do not attach STDIN"),
        Flag("sig-proxy", BOOL, "Proxy received signals to the process", default=True),
    ),
    least=1,
    most=1,
)
EXEC = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    _exec,
    (
        Flag("detach", BOOL, "Run command in the background", "d"),
        _KEYS,
        Flag("env", ENVIRONMENT, "Set environment variables", "e"),
        Flag("env-file", LIST, "Read in a file of environment variables"),
        Flag("interactive", BOOL, "Keep STDIN open even if not attached", "i"),
        Flag("privileged", BOOL, "Give extended privileges to the command"),
        Flag("tty", BOOL, "Allocate a pseudo-TTY", "t"),
        Flag("user", STRING, "Username or UID (format: <name|uid>[:<group|gid>])", "u"),
        Flag("workdir", STRING, "Working directory inside the container", "w"),
    ),
    least=2,
    interspersed=False,
)
