"""`sampan.toml`: what an application says about how it is built, run and checked.

`docs/ship.md` lists every key; a test compares the two.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.base.nearest import nearest
from sampan.base.units import parse_duration_s, parse_size_bytes

__all__ = ["FILE", "KEYS", "Port", "Settings", "parse_settings", "valid_name"]

FILE: Final = "sampan.toml"
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_MAX_NAME: Final = 60
_RESTARTS: Final = ("no", "always", "on-failure", "unless-stopped")
KEYS: Final = {
    "": ("name", "build", "run", "health"),
    "build": ("dockerfile", "target", "package", "args"),
    "run": (
        *("ports", "command", "environment", "user", "volumes", "memory", "cpus", "pids"),
        *("restart", "stop_timeout"),
    ),
    "health": ("http", "port", "command", "timeout"),
}


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container (`80/tcp`) and where it is reached; `host_port` 0 is any."""

    container: str
    host_port: int = 0
    address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """What was said, with the defaults for the rest."""

    name: str
    dockerfile: str = ""
    target: str = ""
    package: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[Port] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    volumes: Sequence[str] = ()
    memory_bytes: int = 0
    nano_cpus: int = 0
    pids: int = 0
    restart: str = "unless-stopped"
    stop_timeout_s: int = 10
    health_http: str = ""
    health_port: int = 0
    health_command: Sequence[str] = ()
    health_timeout_s: float = 30.0


def valid_name(text: str) -> str:
    """Return the name of an application and of its image; InvalidError for what cannot be one."""
    if not _NAME.fullmatch(text) or len(text) > _MAX_NAME:
        raise InvalidError(
            f"{text!r} cannot be a name: lower-case letters and digits, - . or _ between them"
        )
    return text


def parse_settings(document: Mapping[str, Any], directory_name: str) -> Settings:
    """Return the settings of a parsed file; InvalidError names the key that is wrong."""
    reader = _Reader(document)
    build, run, health = (reader.table(name) for name in ("build", "run", "health"))
    derived = re.sub(r"[^a-z0-9]+", "-", directory_name.lower()).strip("-")[:_MAX_NAME].strip("-")
    name = reader.text("", document, "name") or re.sub(r"^[0-9]+-", "", derived) or "app"
    restart = reader.text("run", run, "restart") or "unless-stopped"
    if restart not in _RESTARTS:
        raise _wrong("run.restart", f"one of {', '.join(_RESTARTS)} is needed")
    http = reader.text("health", health, "http")
    if http and not http.startswith("/"):
        raise _wrong("health.http", 'a path that begins with "/" is needed')
    return Settings(
        name=valid_name(name),
        dockerfile=reader.text("build", build, "dockerfile"),
        target=reader.text("build", build, "target"),
        package=reader.text("build", build, "package"),
        arguments=reader.texts("build", build, "args"),
        ports=tuple(_port(text) for text in reader.words("run", run, "ports")),
        command=reader.words("run", run, "command"),
        environment=reader.texts("run", run, "environment"),
        user=reader.text("run", run, "user"),
        volumes=reader.words("run", run, "volumes"),
        memory_bytes=reader.size("run", run, "memory"),
        nano_cpus=reader.cpus(run),
        pids=reader.number("run", run, "pids", 1, 1 << 22),
        restart=restart,
        stop_timeout_s=round(reader.seconds("run", run, "stop_timeout", 10.0)),
        health_http=http,
        health_port=reader.number("health", health, "port", 1, 65_535),
        health_command=reader.words("health", health, "command"),
        health_timeout_s=reader.seconds("health", health, "timeout", 30.0),
    )


def _wrong(key: str, why: str) -> InvalidError:
    return InvalidError(f"{FILE}: {key}: {why}")


class _Reader:
    """Values of the right type, or an error that names the key."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._check("", document)

    def _check(self, section: str, table: Mapping[str, Any]) -> None:
        for key in table:
            if key not in KEYS[section]:
                guess = nearest(key, KEYS[section])
                hint = f" (did you mean {guess}?)" if guess else ""
                raise _wrong(f"{section}.{key}" if section else key, f"no such setting{hint}")

    def table(self, name: str) -> Mapping[str, Any]:
        found = self._document.get(name, {})
        if not isinstance(found, Mapping):
            raise _wrong(name, f"a table is needed: [{name}]")
        self._check(name, found)
        return found

    def text(self, section: str, table: Mapping[str, Any], key: str) -> str:
        found = table.get(key, "")
        if not isinstance(found, str):
            raise _wrong(f"{section}.{key}".lstrip("."), "a text is needed")
        return found

    def words(self, section: str, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
        found = table.get(key, [])
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise _wrong(f"{section}.{key}", "a list of texts is needed")
        return tuple(found)

    def texts(self, section: str, table: Mapping[str, Any], key: str) -> dict[str, str]:
        found = table.get(key, {})
        if not isinstance(found, Mapping) or not all(
            isinstance(one, str | int) and not isinstance(one, bool) for one in found.values()
        ):
            raise _wrong(f"{section}.{key}", "a table of texts is needed")
        return {name: str(value) for name, value in found.items()}

    def number(
        self, section: str, table: Mapping[str, Any], key: str, least: int, most: int
    ) -> int:
        found = table.get(key)
        if found is None:
            return 0
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise _wrong(f"{section}.{key}", f"a number from {least} to {most} is needed")
        return found

    def size(self, section: str, table: Mapping[str, Any], key: str) -> int:
        found = table.get(key)
        if found is None:
            return 0
        try:
            return parse_size_bytes(str(found))
        except ValueError as error:
            raise _wrong(f"{section}.{key}", f'{error}: "64MiB" is a size') from None

    def seconds(self, section: str, table: Mapping[str, Any], key: str, default: float) -> float:
        found = table.get(key)
        if found is None:
            return default
        try:
            seconds = parse_duration_s(found)
        except (TypeError, ValueError, AttributeError):
            raise _wrong(f"{section}.{key}", 'a duration is needed: "30s"') from None
        if seconds <= 0:
            raise _wrong(f"{section}.{key}", "it must be longer than nothing")
        return seconds

    def cpus(self, run: Mapping[str, Any]) -> int:
        found = run.get("cpus")
        if found is None:
            return 0
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found < 4096:
            raise _wrong("run.cpus", "a number above 0 is needed")
        return round(found * 1e9)


def _port(text: str) -> Port:
    rest, _, protocol = text.partition("/")
    address, host, container = "127.0.0.1", "", rest
    parts = rest.rsplit(":", 2)
    if len(parts) == 2:
        host, container = parts
    elif len(parts) == 3:
        address, host, container = parts[0].strip("[]"), parts[1], parts[2]
    try:
        ipaddress.ip_address(address)
        numbers = int(host or "0"), int(container)
    except ValueError:
        numbers = -1, -1
    if (
        not 0 <= numbers[0] < 1 << 16
        or not 0 < numbers[1] < 1 << 16
        or protocol not in ("", "tcp", "udp", "sctp")
    ):
        raise _wrong(
            "run.ports", f'{text!r}: "8080:80", "0.0.0.0:8080:80" or "53:53/udp" is needed'
        )
    return Port(f"{numbers[1]}/{protocol or 'tcp'}", numbers[0], address)
