"""Running one container command: global options, the command, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import cast

from sampan.base.errors import SampanError, UnavailableError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, FlagError, Parsed, parse
from sampan.cli.containers.core.kinds import BOOL, LIST, STRING
from sampan.cli.containers.session import Session
from sampan.cli.containers.table import COMMANDS, GROUPS, find

__all__ = ["GLOBAL_FLAGS", "load", "main"]

GLOBAL_FLAGS = (
    Flag("config", STRING, "Location of client config files"),
    Flag("debug", BOOL, "Accepted; there is nothing more to tell", "D"),
    Flag("host", LIST, "Daemon socket to connect to", "H"),
    Flag("log-level", STRING, "Accepted without effect", "l"),
    Flag("tls", BOOL, "Use TLS; implied by --tlsverify"),
    Flag("tlscacert", STRING, "Trust certs signed only by this CA"),
    Flag("tlscert", STRING, "Path to TLS certificate file"),
    Flag("tlskey", STRING, "Path to TLS key file"),
    Flag("tlsverify", BOOL, "Use TLS and verify the remote"),
)
_HELP = Flag("help", BOOL, "Print usage")


def load(name: str) -> Command:
    """Import a command."""
    entry = COMMANDS[name]
    module = import_module(f"sampan.cli.containers.{entry.module}")
    return cast(Command, getattr(module, entry.attribute))


def main(words: Sequence[str]) -> int:
    """Run the command that `words` name; returns the exit code."""
    try:
        options = parse(GLOBAL_FLAGS, words, interspersed=False)
    except FlagError as error:
        return _complain(f"{error}\n\nRun 'sampan --help' for more information", 125)
    name, rest = find(options.arguments)
    if not name:
        return _no_command(options.arguments)
    command = load(name)
    try:
        code = _run(name, command, rest, options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(name: str, command: Command, words: list[str], options: Parsed) -> int:
    usage = f"Usage:  sampan {name} {command.usage}".rstrip()
    see = f"See 'sampan {name} --help' for more information"
    more = f"Run 'sampan {name} --help' for more information"
    try:
        parsed = parse((*command.flags, _HELP), words, command.interspersed)
    except FlagError as error:
        return _complain(f"{error}\n\n{usage}\n\n{more}", 125)
    if parsed.on("help"):
        from sampan.cli.containers.core.help import command_help

        print(command_help(name, command.usage, COMMANDS[name].summary, command.flags), end="")
        return 0
    wrong = _wrong_count(name, command, len(parsed.arguments))
    if wrong:
        return _complain(
            f"sampan: {wrong}\n\n{usage}\n\n{see if command.most is None else more}", 1
        )
    session = None
    try:
        session = _session(options)
        return command.run(session, parsed)
    except SampanError as error:
        return _failed(command, error, more)
    finally:
        if session is not None:
            session.close()


def _failed(command: Command, error: SampanError, more: str) -> int:
    """Tell the error; returns the exit code."""
    if isinstance(error, Failure):
        return _complain(str(error), error.code)
    text = str(error)
    if isinstance(error, UnavailableError) and "Cannot connect" in text:
        text += "\nTo start Sampan's own: sudo sampan dockerd"
    if command.runs_container:
        return _complain(f"sampan: {text}\n\n{more}", 125)
    return _complain(text, 1)


def _session(options: Parsed) -> Session:
    hosts = options.each("host")
    if len(hosts) > 1:
        raise Failure("Specify only one -H")
    tls = None
    files = [options.text(flag) for flag in ("tlscacert", "tlscert", "tlskey")]
    if options.on("tls") or options.on("tlsverify") or any(files):
        from sampan.engine.client.address import Tls, tls_files

        known = tls_files(os.environ, options.on("tlsverify"))
        ca, certificate, key = (given or file for given, file in zip(files, known[:3], strict=True))
        tls = Tls(ca, certificate, key, options.on("tlsverify"))
    return Session(os.environ, hosts[0] if hosts else "", tls, options.text("config"))


def _wrong_count(name: str, command: Command, count: int) -> str:
    """Return what is wrong with the number of arguments, in Docker's words."""
    least, most = command.least, command.most
    if count >= least and (most is None or count <= most):
        return ""
    said = f"'sampan {name}'"
    if most == 0:
        return f"{said} accepts no arguments"
    if most is None:
        return f"{said} requires at least {_arguments(least)}"
    if least == most:
        return f"{said} requires {_arguments(least)}"
    if least == 0:
        return f"{said} requires at most {_arguments(most)}"
    return f"{said} requires at least {least} and at most {_arguments(most)}"


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"


def _no_command(words: list[str]) -> int:
    group = words[0] if words else ""
    if group in GROUPS and (len(words) == 1 or words[1] in ("-h", "--help")):
        from sampan.cli.containers.core.help import group_help

        inside = {
            name.split()[1]: entry.summary
            for name, entry in COMMANDS.items()
            if name.startswith(group + " ")
        }
        print(group_help(group, GROUPS[group], inside), end="")
        return 0
    if group in GROUPS:
        usage = f"Usage:  sampan {group}\n\nRun 'sampan {group} --help' for more information"
        return _complain(f"sampan: unknown command: sampan {group} {words[1]}\n\n{usage}", 1)
    return _complain(
        f"sampan: unknown command: sampan {group}\n\nRun 'sampan --help' for more information", 1
    )


def _complain(text: str, code: int) -> int:
    sys.stdout.flush()
    if text:
        print(text, file=sys.stderr)
    return code
