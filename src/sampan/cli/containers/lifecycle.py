"""Commands that change a container's state, each for one or more containers."""

from __future__ import annotations

import sys
from typing import Any

from sampan.base.errors import InvalidError, SampanError
from sampan.cli.containers.command import Command, Failure, each
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, INTEGER, STRING
from sampan.cli.containers.core.limits import RESOURCE_FLAGS, resources, restart_policy
from sampan.cli.containers.run import exit_code
from sampan.cli.containers.session import Session
from sampan.engine.client.client import ApiError

__all__ = [
    "KILL", "PAUSE", "REMOVE", "RENAME", "RESTART", "STOP", "UNPAUSE", "UPDATE", "WAIT",
]  # fmt: skip

_SEVERAL = "[OPTIONS] CONTAINER [CONTAINER...]"
_STOPPING = (
    Flag("signal", STRING, "Signal to send to the container", "s"),
    Flag("time", INTEGER, hidden=True, alias="timeout"),
    Flag("timeout", INTEGER, "Seconds to wait before killing the container", "t"),
)


def _stop(session: Session, parsed: Parsed) -> int:
    timeout_s, signal = parsed.values["timeout"], parsed.text("signal")
    return each(parsed.arguments, lambda name: session.containers.stop(name, timeout_s, signal))


def _restart(session: Session, parsed: Parsed) -> int:
    timeout_s, signal = parsed.values["timeout"], parsed.text("signal")
    return each(parsed.arguments, lambda name: session.containers.restart(name, timeout_s, signal))


def _kill(session: Session, parsed: Parsed) -> int:
    signal = parsed.text("signal")
    return each(parsed.arguments, lambda name: session.containers.kill(name, signal))


def _pause(session: Session, parsed: Parsed) -> int:
    return each(parsed.arguments, session.containers.pause)


def _unpause(session: Session, parsed: Parsed) -> int:
    return each(parsed.arguments, session.containers.unpause)


def _remove(session: Session, parsed: Parsed) -> int:
    force = parsed.on("force")
    absent = []

    def remove(given: str) -> None:
        name = given.strip("/")
        if not name:
            raise InvalidError("container name cannot be empty")
        try:
            session.containers.remove(name, force, parsed.on("volumes"), parsed.on("link"))
        except ApiError as error:
            if not force or error.status != 404:
                raise
            # By force, what is not there is as good as removed: told, and no failure.
            absent.append(str(error))
            return
        print(given)

    code = each(parsed.arguments, remove, shown=False)
    for words in absent:
        print(words, file=sys.stderr)
    return code


def _rename(session: Session, parsed: Parsed) -> int:
    old, new = (name.strip() for name in parsed.arguments)
    if not old or not new:
        raise Failure("Error: Neither old nor new names may be empty")
    try:
        session.containers.rename(old, new)
    except ApiError as error:
        raise Failure(f"{error}\nError: failed to rename container named {old}") from None
    return 0


def _wait(session: Session, parsed: Parsed) -> int:
    failures = []
    for name in parsed.arguments:
        try:
            print(exit_code(session.containers.wait(name)), flush=True)
        except SampanError as error:
            failures.append(str(error))
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _update(session: Session, parsed: Parsed) -> int:
    if not parsed.given:
        raise Failure("you must provide one or more flags when using this command")
    body: dict[str, Any] = resources(parsed)
    if "restart" in parsed.given:
        body["RestartPolicy"] = restart_policy(parsed.text("restart"))
    warnings: list[str] = []

    def update(name: str) -> None:
        warnings.extend(session.containers.update(name, body).get("Warnings") or ())

    try:
        return each(parsed.arguments, update)
    finally:
        if warnings:
            print("\n".join(warnings))


STOP = Command(_SEVERAL, _stop, _STOPPING, least=1)
RESTART = Command(_SEVERAL, _restart, _STOPPING, least=1)
KILL = Command(
    _SEVERAL, _kill, (Flag("signal", STRING, "Signal to send to the container", "s"),), least=1
)
PAUSE = Command("CONTAINER [CONTAINER...]", _pause, least=1)
UNPAUSE = Command("CONTAINER [CONTAINER...]", _unpause, least=1)
REMOVE = Command(
    _SEVERAL,
    _remove,
    (
        Flag("force", BOOL, "Force the removal of a running container (uses SIGKILL)", "f"),
        Flag("link", BOOL, "Remove the specified link", "l"),
        Flag("volumes", BOOL, "Remove anonymous volumes associated with the container", "v"),
    ),
    least=1,
)
RENAME = Command("CONTAINER NEW_NAME", _rename, least=2, most=2)
WAIT = Command("CONTAINER [CONTAINER...]", _wait, least=1)
UPDATE = Command(_SEVERAL, _update, RESOURCE_FLAGS, least=1)
