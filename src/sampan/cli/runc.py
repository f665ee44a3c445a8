"""`sampan runc`: an OCI runtime with runc's commands, flags and exit codes.

Nothing is imported before it is needed: the time to a container's first instruction is the
interpreter's start, the imports and the system calls, and the imports are the largest part.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sampan import __version__
from sampan.base.errors import InvalidError, SampanError, UnsupportedError
from sampan.cli.runc_flags import COMMANDS, GLOBAL_FLAGS, Command, Values, read_flags

__all__ = ["COMMANDS_RUN", "main"]

_EXEC_FAILED = 255


class _Call:
    """One command with its flags, arguments and the runtime it works on."""

    def __init__(
        self, settings: Values, flags: Values, arguments: list[str], journal: _Journal
    ) -> None:
        self.settings = settings
        self.flags = flags
        self.arguments = arguments
        self.journal = journal

    @property
    def id(self) -> str:
        return self.arguments[0]

    def runtime(self) -> Any:
        from sampan.engine.oci.shell.runtime import Runtime
        from sampan.engine.oci.shell.store import default_root

        return Runtime(self.settings["root"] or default_root(), self.journal.warn)


class _Journal:
    """Where errors go: standard error, or a file that a caller reads, as text or JSON lines."""

    def __init__(self, path: str, kind: str, *, verbose: bool = False) -> None:
        self._verbose = verbose
        if kind not in ("text", "json"):
            raise InvalidError(f"invalid log format '{kind}'")
        self._path = "" if path in ("", "/dev/stderr") else path
        self._json = kind == "json"

    def fail(self, message: str) -> None:
        """Tell why the command fails."""
        self._write("error", message)
        if self._path:
            print(message, file=sys.stderr)

    def debug(self, message: str) -> None:
        """Tell what is done, to who asked for it."""
        if self._verbose:
            self._write("debug", message)

    def warn(self, message: str) -> None:
        """Tell what went wrong beside."""
        self._write("warning", message)

    def _write(self, level: str, message: str) -> None:
        import json
        import time

        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            told = {"level": level, "msg": message, "time": at}
            line = json.dumps(told, separators=(",", ":"))
        else:
            line = f'time="{at}" level={level} msg={json.dumps(message, ensure_ascii=False)}'
        if not self._path:
            print(line, file=sys.stderr)
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            print(f"{self._path}: {error.strerror}: {message}", file=sys.stderr)
            return
        os.write(fd, line.encode() + b"\n")
        os.close(fd)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run one command and end this process with runc's exit code.

    It lives for milliseconds: collecting garbage and taking the interpreter apart are left out.
    """
    gc.disable()
    code = _main(arguments)
    sys.stderr.flush()
    os._exit(code)


def _main(arguments: Sequence[str]) -> int:
    journal = _Journal("", "text")
    try:
        settings, rest = read_flags(GLOBAL_FLAGS, arguments, stop_after=1)
        if settings["log"] or settings["log-format"] != "text" or settings["debug"]:
            journal = _Journal(settings["log"], settings["log-format"], verbose=settings["debug"])
    except SampanError as error:
        journal.fail(str(error))
        return 1
    if settings["version"]:
        _print_version()
        sys.stdout.flush()
        return 0
    if settings["help"] or not rest or rest[0] in ("help", "h"):
        return _help(rest)
    command = COMMANDS.get(rest[0])
    if command is None:
        journal.fail(f"No help topic for '{rest[0]}'")
        return 3
    return _run(rest[0], command, settings, rest[1:], journal)


def _run(
    name: str, command: Command, settings: Values, words: Sequence[str], journal: _Journal
) -> int:
    if {"-h", "--help"} & set(words[:1]):
        return _help([name])
    try:
        stop = 1 if command.passes_rest else None
        flags, arguments = read_flags(command.flags, words, stop_after=stop)
        _check_count(name, command, len(arguments))
    except InvalidError as error:
        journal.fail(str(error))
        return 1
    try:
        if settings["systemd-cgroup"]:
            raise UnsupportedError(
                "--systemd-cgroup: cgroups through systemd are not supported yet"
            )
        journal.debug(f"{name} {' '.join(arguments)}")
        code = COMMANDS_RUN[name](_Call(settings, flags, arguments, journal))
        journal.debug(f"{name} ends with exit code {code}")
        sys.stdout.flush()
    except BrokenPipeError:
        return 1
    except (SampanError, OSError) as error:
        told = str(error)
        if isinstance(error, OSError):
            told = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        journal.fail(_prefix(name, error) + told)
        return _EXEC_FAILED if name == "exec" else 1
    return code


def _prefix(name: str, error: Exception) -> str:
    start = ""
    if name in ("create", "run", "start", "exec"):
        from sampan.engine.runtime.shell.launch import LaunchError

        if isinstance(error, LaunchError):
            start = "unable to start container process: "
    words = {"create": "runc create failed: ", "run": "runc run failed: ", "exec": "exec failed: "}
    return words.get(name, "") + start


def _check_count(name: str, command: Command, count: int) -> None:
    if count < command.least or (command.most is not None and count > command.most):
        if command.least == command.most:
            wanted = f"exactly {command.least} argument(s)"
        elif count < command.least:
            wanted = f"a minimum of {command.least} argument(s)"
        else:
            wanted = f"a maximum of {command.most} argument(s)"
        raise InvalidError(f'runc: "{name}" requires {wanted}')


def _print_version() -> None:
    from sampan.engine.oci.core.record import OCI_VERSION

    print(f"runc version {__version__}+sampan\nspec: {OCI_VERSION}")


def _help(words: Sequence[str]) -> int:
    from sampan.cli.runc_help import command_help, general_help

    name = next((word for word in words if word in COMMANDS), None)
    print(command_help(name, COMMANDS[name]) if name else general_help(), flush=True)
    return 0


def _options(call: _Call, *, foreground: bool) -> Any:
    from sampan.engine.oci.shell.creation import CreateOptions

    if call.flags["no-pivot"]:
        raise UnsupportedError("--no-pivot: the root is always entered by pivot_root")
    return CreateOptions(
        bundle=call.flags["bundle"] or ".",
        pid_file=call.flags["pid-file"],
        console_socket=call.flags["console-socket"],
        preserve_fds=call.flags["preserve-fds"] + int(os.environ.get("LISTEN_FDS") or 0),
        new_keyring=not call.flags["no-new-keyring"],
        foreground=foreground,
        tolerate_cgroups=_tolerates_cgroups(call.settings["rootless"]),
    )


def _tolerates_cgroups(word: str) -> bool:
    if word not in ("true", "false", "auto"):
        raise InvalidError(f"invalid value for --rootless: {word!r}: true, false or auto")
    from sampan.engine.runtime.shell.idmap import in_user_namespace

    return word == "true" or (word == "auto" and (os.geteuid() != 0 or in_user_namespace()))


def _create(call: _Call) -> int:
    from sampan.engine.oci.shell.starting import create

    create(call.runtime(), call.id, _options(call, foreground=False))
    return 0


def _run_container(call: _Call) -> int:
    from sampan.engine.oci.shell.starting import run

    return run(
        call.runtime(),
        call.id,
        _options(call, foreground=not call.flags["detach"]),
        keep=call.flags["keep"],
        subreaper=not call.flags["no-subreaper"],
    )


def _start(call: _Call) -> int:
    from sampan.engine.oci.shell.starting import start

    start(call.runtime(), call.id)
    return 0


def _state(call: _Call) -> int:
    import json

    print(json.dumps(call.runtime().state(call.id), indent=2))
    return 0


def _kill(call: _Call) -> int:
    from sampan.engine.oci.core.signals import signal_number

    number = signal_number(call.arguments[1] if len(call.arguments) > 1 else "SIGTERM")
    call.runtime().kill(call.id, number, everybody=call.flags["all"])
    return 0


def _delete(call: _Call) -> int:
    call.runtime().delete(call.id, force=call.flags["force"])
    return 0


def _pause(call: _Call) -> int:
    call.runtime().pause(call.id)
    return 0


def _resume(call: _Call) -> int:
    call.runtime().resume(call.id)
    return 0


def _list(call: _Call) -> int:
    found = call.runtime().listing()
    if call.flags["quiet"]:
        for one in found:
            print(one["id"])
        return 0
    if call.flags["format"] == "json":
        import json

        print(json.dumps(found, separators=(",", ":")))
        return 0
    if call.flags["format"] != "table":
        raise InvalidError("invalid format option")
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    rows = [tuple(str(one[key]) for key in keys) for one in found]
    rows.insert(0, tuple(key.upper() for key in keys))
    widths = [max(12, *(len(row[at]) + 3 for row in rows)) for at in range(len(keys))]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _ps(call: _Call) -> int:
    from sampan.engine.oci.shell.processes import process_lines

    pids = call.runtime().pids(call.id)
    for line in process_lines(pids, call.flags["format"], call.arguments[1:]):
        print(line)
    return 0


def _spec(call: _Call) -> int:
    from sampan.engine.oci.shell.specification import write_specification

    write_specification(call.flags["bundle"] or ".", rootless=call.flags["rootless"])
    return 0


def _features(call: _Call) -> int:
    import json

    from sampan.engine.oci.core.features import features

    print(json.dumps(features(__version__), indent=4))
    return 0


def _exec(call: _Call) -> int:
    from sampan.engine.oci.shell.execution import ExecOptions, execute

    flags = call.flags
    options = ExecOptions(
        pid_file=flags["pid-file"],
        console_socket=flags["console-socket"],
        process_file=flags["process"],
        detach=flags["detach"],
        preserve_fds=flags["preserve-fds"] + int(os.environ.get("LISTEN_FDS") or 0),
        ignore_paused=flags["ignore-paused"],
        cgroups=tuple(flags["cgroup"]),
    )
    return execute(call.runtime(), call.id, _changes(call), options)


def _changes(call: _Call) -> Any:
    from sampan.engine.oci.core.further import Changes

    flags = call.flags
    try:
        gids = [int(word) for word in flags["additional-gids"]]
    except ValueError:
        raise InvalidError("--additional-gids: numbers are expected") from None
    return Changes(
        args=call.arguments[1:],
        cwd=flags["cwd"],
        env=flags["env"],
        terminal=flags["tty"],
        user=flags["user"],
        additional_gids=gids,
        capabilities=flags["cap"],
        no_new_privileges=flags["no-new-privs"],
        apparmor=flags["apparmor"],
        label=flags["process-label"],
    )


def _update(call: _Call) -> int:
    from sampan.engine.oci.core.limits import resources_of
    from sampan.engine.oci.shell.specification import read_json

    name = call.flags["resources"]
    change = read_json(name) if name else resources_of(call.flags)
    call.runtime().update(call.id, change)
    return 0


def _events(call: _Call) -> int:
    from sampan.engine.oci.shell.events import print_events

    print_events(call.runtime(), call.id, call.flags["interval"], once=call.flags["stats"])
    return 0


def _later(call: _Call) -> int:
    raise UnsupportedError("checkpoint and restore are not supported yet")


COMMANDS_RUN: dict[str, Callable[[_Call], int]] = {
    "checkpoint": _later,
    "create": _create,
    "delete": _delete,
    "events": _events,
    "exec": _exec,
    "features": _features,
    "kill": _kill,
    "list": _list,
    "pause": _pause,
    "ps": _ps,
    "restore": _later,
    "resume": _resume,
    "run": _run_container,
    "spec": _spec,
    "start": _start,
    "state": _state,
    "update": _update,
}
"""What carries each command out."""
