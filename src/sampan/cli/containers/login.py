"""`login` and `logout`."""

from __future__ import annotations

import os
import sys

from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, STRING
from sampan.cli.containers.session import Session
from sampan.cli.containers.terminal import is_terminal
from sampan.engine.client.credentials import DEFAULT_REGISTRY, Credential

__all__ = ["LOGIN", "LOGOUT"]


def _server(arguments: list[str]) -> str:
    name = arguments[0] if arguments else ""
    return DEFAULT_REGISTRY if name in ("", "docker.io", "index.docker.io") else name


def _login(session: Session, parsed: Parsed) -> int:
    server = _server(parsed.arguments)
    username, password = _asked(session, parsed, server)
    found = session.system.log_in(
        {"username": username, "password": password, "serveraddress": server}
    )
    token = str(found.get("IdentityToken") or "")
    credential = Credential(server, username, "" if token else password, token)
    helper = session.credentials.store(credential)
    if not helper:
        path = os.path.join(session.config_directory, "config.json")
        print(
            f"\nWARNING! Your credentials are stored unencrypted in '{path}'.\n"
            "A credential helper (credsStore in that file) keeps them safer.\n",
            file=sys.stderr,
        )
    print(found.get("Status") or "Login Succeeded")
    return 0


def _asked(session: Session, parsed: Parsed, server: str) -> tuple[str, str]:
    """Return name and password: of flags, of standard input, or asked for at a terminal."""
    username, password = parsed.text("username"), parsed.text("password")
    if parsed.on("password-stdin"):
        if password:
            raise Failure(
                "conflicting options: cannot specify both --password and --password-stdin"
            )
        if not username:
            raise Failure("the --password-stdin option requires --username to be set")
        return username, sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if password:
        print(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
            file=sys.stderr,
        )
    known = session.credentials.get(server)
    if not username and not password and known is not None and known.password:
        return known.username, known.password
    if not (username and password) and not is_terminal(0):
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    username = username or input("Username: ").strip()
    if not password:
        import getpass

        password = getpass.getpass("Password: ")
    if not username or not password:
        raise Failure("Error: username and password are required")
    return username, password


def _logout(session: Session, parsed: Parsed) -> int:
    server = _server(parsed.arguments)
    print(f"Removing login credentials for {server}")
    session.credentials.erase(server)
    return 0


LOGIN = Command(
    "[OPTIONS] [SERVER]",
    _login,
    (
        Flag("password", STRING, "Password", "p"),
        Flag("password-stdin", BOOL, "Take the password from stdin"),
        Flag("username", STRING, "Username", "u"),
    ),
    most=1,
)
LOGOUT = Command("[SERVER]", _logout, most=1)
