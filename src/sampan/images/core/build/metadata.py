"""Instructions that change an image's configuration and nothing of its files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from sampan.base.errors import InvalidError
from sampan.dockerfile.instructions import (
    Cmd,
    Command,
    Entrypoint,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Shell,
    Stopsignal,
    User,
    Volume,
)
from sampan.dockerfile.words import Expander
from sampan.images.core.build.config import ImageConfig

__all__ = ["Changing", "apply_metadata"]

_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_PORT_LIMIT: Final = 65_535


class Changing(Protocol):
    """What instructions change: a stage, or what `commit` makes."""

    config: ImageConfig
    cmd_is_own: bool


def apply_metadata(state: Changing, instruction: Instruction, expander: Expander) -> None:
    """Change the stage's configuration and add to its history; InvalidError for a wrong value."""
    config = state.config
    match instruction:
        case Cmd(_, command):
            config.fields["Cmd"] = _line(state, command)
            state.cmd_is_own = True
            config.remember(f"CMD {_shown(config.fields['Cmd'])}", empty=True)
        case Entrypoint(_, command):
            config.fields["Entrypoint"] = _line(state, command)
            if not state.cmd_is_own:
                config.fields.pop("Cmd", None)
            config.remember(f"ENTRYPOINT {_shown(config.fields['Entrypoint'])}", empty=True)
        case Label(_, pairs):
            _label(state, [(expander.word(name), expander.word(value)) for name, value in pairs])
        case User(_, user):
            config.fields["User"] = expander.word(user)
            config.remember(f"USER {config.user}", empty=True)
        case Expose(_, ports):
            _expose(state, [word for text in ports for word in expander.words(text)])
        case Volume(_, paths):
            words = [word for path in paths for word in expander.words(path)]
            config.fields.setdefault("Volumes", {}).update({word: {} for word in words})
            config.remember(f"VOLUME [{' '.join(words)}]", empty=True)
        case Shell(_, words):
            config.fields["Shell"] = list(words)
            config.remember(f"SHELL [{' '.join(words)}]", empty=True)
        case Stopsignal(_, signal):
            config.fields["StopSignal"] = _signal(expander.word(signal))
            config.remember(f"STOPSIGNAL {config.fields['StopSignal']}", empty=True)
        case Healthcheck():
            config.fields["Healthcheck"] = found = _health(state, instruction)
            config.remember(f"HEALTHCHECK {_shown(found['Test'])}", empty=True)
        case Maintainer(_, name):
            config.author = name
            config.remember(f"MAINTAINER {name}", empty=True)
        case _:
            raise InvalidError(f"{instruction.line.keyword} is not supported yet")


def _line(state: Changing, command: Command) -> list[str]:
    if command.shell and command.words[0]:
        return [*state.config.shell, command.words[0]]
    return [] if command.shell else list(command.words)


def _shown(words: Sequence[str]) -> str:
    return json.dumps(list(words), separators=(",", ":"), ensure_ascii=False)


def _label(state: Changing, pairs: Sequence[tuple[str, str]]) -> None:
    labels = state.config.fields.setdefault("Labels", {})
    labels.update(pairs)
    shown = " ".join(f"{name}={value}" for name, value in pairs)
    state.config.remember(f"LABEL {shown}", empty=True)


def _expose(state: Changing, words: Sequence[str]) -> None:
    ports = state.config.fields.setdefault("ExposedPorts", {})
    for word in words:
        # An address and a port of the host before it are warned of and mean nothing.
        match = _PORT.fullmatch(word.rpartition(":")[2])
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if match is None or not 0 < first <= last <= _PORT_LIMIT:
            raise InvalidError(f"invalid containerPort: {word}: use PORT[-PORT][/tcp|udp|sctp]")
        protocol = (match[3] or "tcp").lower()
        ports.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
    shown = " ".join(word if "/" in word else f"{word}/tcp" for word in words)
    state.config.remember(f"EXPOSE [{shown}]", empty=True)


def _signal(text: str) -> str:
    if not re.fullmatch(r"\d{1,2}|[A-Za-z][A-Za-z0-9+-]*", text):
        raise InvalidError(f"Invalid signal: {text}")
    return text


def _health(state: Changing, instruction: Healthcheck) -> dict[str, Any]:
    command = instruction.command
    if command is None:
        return {"Test": ["NONE"]}
    kind = "CMD-SHELL" if command.shell else "CMD"
    found: dict[str, Any] = {"Test": [kind, *command.words]}
    times = {
        "Interval": instruction.interval_ns,
        "Timeout": instruction.timeout_ns,
        "StartPeriod": instruction.start_period_ns,
        "StartInterval": instruction.start_interval_ns,
        "Retries": instruction.retries,
    }
    return {**found, **{name: value for name, value in times.items() if value}}
