"""Looking into a container: `top`, `diff`, `port`."""

from __future__ import annotations

from typing import Any

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Parsed
from sampan.cli.containers.listing import natural
from sampan.cli.containers.session import Session

__all__ = ["DIFF", "PORT", "TOP"]

_LEAST_WIDTH = 20


def _top(session: Session, parsed: Parsed) -> int:
    name, *arguments = parsed.arguments
    found = session.containers.top(name, " ".join(arguments))
    for line in (found["Titles"], *(found["Processes"] or ())):
        print("".join(f"{cell:<{_LEAST_WIDTH}}" for cell in line[:-1]) + line[-1])
    return 0


def _diff(session: Session, parsed: Parsed) -> int:
    if not parsed.arguments[0]:
        raise Failure("Container name cannot be empty")
    for change in session.containers.changes(parsed.arguments[0]):
        print("CAD"[change["Kind"]], change["Path"])
    return 0


def _port(session: Session, parsed: Parsed) -> int:
    name = parsed.arguments[0]
    shown = session.containers.inspect(name)
    ports: dict[str, Any] = shown["NetworkSettings"].get("Ports") or {}
    if len(parsed.arguments) == 1:
        for inside in sorted(ports, key=natural):
            for binding in ports[inside] or ():
                print(f"{inside} -> {_address(binding)}")
        return 0
    number, slash, protocol = parsed.arguments[1].partition("/")
    found = ports.get(f"{number}/{protocol if slash else 'tcp'}")
    if not found:
        raise Failure(f"Error: No public port '{parsed.arguments[1]}' published for {name}")
    for binding in found:
        print(_address(binding))
    return 0


def _address(binding: dict[str, str]) -> str:
    address = binding.get("HostIp") or "0.0.0.0"
    return (
        f"[{address}]:{binding['HostPort']}"
        if ":" in address
        else (f"{address}:{binding['HostPort']}")
    )


TOP = Command("CONTAINER [ps OPTIONS]", _top, least=1, interspersed=False)
DIFF = Command("CONTAINER", _diff, least=1, most=1)
PORT = Command("CONTAINER [PRIVATE_PORT[/PROTO]]", _port, least=1, most=2)
