"""Help for `sampan runc` and its commands."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.cli.runc_flags import COMMANDS, GLOBAL_FLAGS, Command, Flag

__all__ = ["command_help", "general_help"]


def general_help() -> str:
    """Return what `--help` prints."""
    commands = [f"   {name:<12}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "NAME:\n   runc - run containers from OCI bundles, without a daemon\n",
            "USAGE:\n   runc [global options] command [command options] [arguments...]\n",
            "COMMANDS:",
            *commands,
            "\nGLOBAL OPTIONS:",
            *_lines(GLOBAL_FLAGS),
        ]
    )


def command_help(name: str, command: Command) -> str:
    """Return what `COMMAND --help` prints."""
    usage = f"   runc {name} [command options] {command.arguments}".rstrip()
    parts = [f"NAME:\n   runc {name} - {command.summary}\n", f"USAGE:\n{usage}"]
    if command.flags:
        parts += ["\nOPTIONS:", *_lines(command.flags)]
    return "\n".join(parts)


def _lines(flags: Iterable[Flag]) -> list[str]:
    lines = []
    for flag in flags:
        value = "" if flag.kind == "bool" else " value"
        short = f", -{flag.short}{value}" if flag.short else ""
        default = f" (default: {flag.default})" if flag.default not in (None, "") else ""
        lines.append(f"   {f'--{flag.name}{value}{short}':<36}{flag.help}{default}")
    return lines
