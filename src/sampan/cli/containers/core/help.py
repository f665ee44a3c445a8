"""What `--help` prints for a command or a group of commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sampan.cli.containers.core.flags import Flag

__all__ = ["command_help", "group_help"]


def command_help(name: str, usage: str, summary: str, flags: Sequence[Flag]) -> str:
    """Return usage, summary and flags."""
    text = f"Usage:  sampan {name} {usage}".rstrip() + f"\n\n{summary}\n"
    shown = [flag for flag in flags if not flag.hidden]
    if not shown:
        return text
    left = [_left(flag) for flag in shown]
    width = max(map(len, left))
    lines = [
        f"{start:<{width}}   {flag.help}{_default(flag)}".rstrip()
        for start, flag in zip(left, shown, strict=True)
    ]
    return text + "\nOptions:\n" + "\n".join(lines) + "\n"


def _left(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    return f"  {short}--{flag.name} {flag.kind.word}".rstrip()


def _default(flag: Flag) -> str:
    if flag.default in (None, "", False, 0):
        return ""
    shown = f'"{flag.default}"' if isinstance(flag.default, str) else str(flag.default).lower()
    return f" (default {shown})"


def group_help(name: str, summary: str, commands: Mapping[str, str]) -> str:
    """Return usage, summary and commands."""
    width = max(map(len, commands))
    lines = [f"  {command:<{width}}  {commands[command]}" for command in sorted(commands)]
    return (
        f"Usage:  sampan {name} COMMAND\n\n{summary}\n\nCommands:\n"
        + "\n".join(lines)
        + f"\n\nRun 'sampan {name} COMMAND --help' for more information on a command.\n"
    )
