"""The words of `sampan runc`: commands, flags and their help, and how they are read.

Flags are read as runc reads them: one dash or two, `--flag value` or `--flag=value`, before or
after the arguments; `exec` and `ps` end them at the second argument, whose flags are another
program's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.base.errors import InvalidError
from sampan.base.record import record

__all__ = ["COMMANDS", "GLOBAL_FLAGS", "Command", "Flag", "Values", "read_flags"]

Values = dict[str, Any]


@record
class Flag:
    """One flag; `kind` is bool, text, list or int."""

    name: str
    help: str
    kind: str = "text"
    short: str = ""
    default: Any = None


@record
class Command:
    """One command; `most` is None for any number of arguments."""

    summary: str
    arguments: str
    least: int
    most: int | None
    flags: tuple[Flag, ...] = ()
    passes_rest: bool = False


GLOBAL_FLAGS = (
    Flag("debug", "enable debug logging", "bool"),
    Flag("log", "file to write the log to (default: standard error)"),
    Flag("log-format", "text or json", default="text"),
    Flag("root", "directory of the containers' state"),
    Flag("criu", "accepted; checkpoints are not supported yet", default="criu"),
    Flag("systemd-cgroup", "refused: cgroups are made directly", "bool"),
    Flag("rootless", "ignore cgroup permission errors: true, false or auto", default="auto"),
    Flag("help", "show help", "bool", "h"),
    Flag("version", "print the version", "bool", "v"),
)

_BUNDLE = Flag("bundle", "directory of config.json, by default the current one", "text", "b")
_CONSOLE = Flag("console-socket", "AF_UNIX socket that receives the terminal's master")
_PID_FILE = Flag("pid-file", "file to write the process id to")
_PRESERVE = Flag("preserve-fds", "pass on N further descriptors from 3 on", "int", default=0)
_NO_PIVOT = Flag("no-pivot", "refused: the root is always entered by pivot_root", "bool")
_KEYRING = Flag("no-new-keyring", "keep the caller's session keyring", "bool")
_MAKING = (_BUNDLE, _CONSOLE, _PID_FILE, _NO_PIVOT, _KEYRING, _PRESERVE)
_DETACH = Flag("detach", "do not wait for the process", "bool", "d")
_FORMAT = Flag("format", "table or json", "text", "f", "table")
_ID = "<container-id>"

_UPDATE = (
    Flag("resources", "file with the resources to change, - for standard input", "text", "r"),
    Flag("blkio-weight", "weight for block devices, 10 to 1000", "int"),
    Flag("cpu-period", "CFS period in microseconds", "int"),
    Flag("cpu-quota", "CFS quota in microseconds", "int"),
    Flag("cpu-share", "relative weight of the CPU", "int"),
    Flag("cpu-rt-period", "realtime period in microseconds", "int"),
    Flag("cpu-rt-runtime", "realtime runtime in microseconds", "int"),
    Flag("cpuset-cpus", "CPUs to use"),
    Flag("cpuset-mems", "memory nodes to use"),
    Flag("memory", "memory limit in bytes", "int"),
    Flag("memory-reservation", "soft memory limit in bytes", "int"),
    Flag("memory-swap", "memory and swap in bytes, -1 for no limit", "int"),
    Flag("pids-limit", "most processes", "int"),
    Flag("l3-cache-schema", "refused: Intel RDT is not supported yet"),
    Flag("mem-bw-schema", "refused: Intel RDT is not supported yet"),
)
_EXEC = (
    _CONSOLE,
    Flag("cwd", "working directory"),
    Flag("env", "set an environment variable", "list", "e"),
    Flag("tty", "allocate a terminal", "bool", "t"),
    Flag("user", "uid[:gid]", "text", "u"),
    Flag("additional-gids", "additional group ids", "list", "g"),
    Flag("process", "file with the process as JSON", "text", "p"),
    _DETACH,
    _PID_FILE,
    Flag("process-label", "SELinux label"),
    Flag("apparmor", "AppArmor profile"),
    Flag("no-new-privs", "set no_new_privs", "bool"),
    Flag("cap", "add a capability", "list", "c"),
    _PRESERVE,
    Flag("cgroup", "run in a cgroup below the container's", "list"),
    Flag("ignore-paused", "also in a paused container", "bool"),
)

COMMANDS: dict[str, Command] = {
    "checkpoint": Command("not supported yet", _ID, 1, 1, passes_rest=True),
    "create": Command("create a container", _ID, 1, 1, _MAKING),
    "delete": Command(
        "remove what a container holds",
        _ID,
        1,
        1,
        (Flag("force", "kill it first when it runs", "bool", "f"),),
    ),
    "events": Command(
        "print OOM notifications and statistics",
        _ID,
        1,
        1,
        (
            Flag("interval", "time between statistics", default="5s"),
            Flag("stats", "print statistics once", "bool"),
        ),
    ),
    "exec": Command(
        "run a further process in a container",
        f"{_ID} <command> [arguments...]",
        1,
        None,
        _EXEC,
        passes_rest=True,
    ),
    "features": Command("print what this runtime can do", "", 0, 0),
    "kill": Command(
        "send a signal, SIGTERM unless told otherwise",
        f"{_ID} [signal]",
        1,
        2,
        (Flag("all", "to all processes", "bool", "a"),),
    ),
    "list": Command(
        "list containers",
        "",
        0,
        0,
        (_FORMAT, Flag("quiet", "ids only", "bool", "q")),
    ),
    "pause": Command("stop all processes", _ID, 1, 1),
    "ps": Command("list a container's processes", f"{_ID} [ps options]", 1, None, (_FORMAT,), True),
    "restore": Command("not supported yet", _ID, 1, 1, passes_rest=True),
    "resume": Command("let paused processes go on", _ID, 1, 1),
    "run": Command(
        "create and start a container",
        _ID,
        1,
        1,
        (
            *_MAKING,
            _DETACH,
            Flag("keep", "do not delete it when it ends", "bool"),
            Flag("no-subreaper", "do not adopt orphaned processes", "bool"),
        ),
    ),
    "spec": Command(
        "write a new config.json",
        "",
        0,
        0,
        (_BUNDLE, Flag("rootless", "for a user without privileges", "bool")),
    ),
    "start": Command("run the program of a created container", _ID, 1, 1),
    "state": Command("print a container's state", _ID, 1, 1),
    "update": Command("change limits", _ID, 1, 1, _UPDATE),
}


def read_flags(
    flags: Sequence[Flag], words: Sequence[str], *, stop_after: int | None
) -> tuple[Values, list[str]]:
    """Return the flags' values by name and the arguments.

    Flags end after `stop_after` arguments, or at `--`. InvalidError for an unknown flag, a value
    that is missing or no number.
    """
    values: Values = {flag.name: _default(flag) for flag in flags}
    named = {flag.name: flag for flag in flags} | {flag.short: flag for flag in flags if flag.short}
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if stop_after is not None and len(arguments) >= stop_after:
            return values, [*arguments, word, *rest]
        if word == "--":
            return values, [*arguments, *rest]
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        flag = named.get(name)
        if flag is None:
            raise InvalidError(f"flag provided but not defined: -{name}")
        if flag.kind == "bool":
            values[flag.name] = _truth(flag, value) if equals else True
            continue
        if not equals:
            if not rest:
                raise InvalidError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        _put(values, flag, value)
    return values, arguments


def _default(flag: Flag) -> Any:
    if flag.kind == "list":
        return []
    if flag.kind == "bool":
        return False
    return "" if flag.default is None and flag.kind == "text" else flag.default


def _truth(flag: Flag, value: str) -> bool:
    words = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    if value.lower() not in words:
        raise InvalidError(f'invalid boolean value "{value}" for -{flag.name}')
    return words[value.lower()]


def _put(values: Values, flag: Flag, value: str) -> None:
    if flag.kind == "list":
        values[flag.name].append(value)
    elif flag.kind == "int":
        try:
            values[flag.name] = int(value)
        except ValueError:
            raise InvalidError(f'invalid value "{value}" for flag -{flag.name}') from None
    else:
        values[flag.name] = value
