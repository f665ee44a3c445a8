"""Users by name and password, and tokens that say what their bearer may do.

Passwords are bcrypt hashes in htpasswd's form; a wrong name takes as long as a wrong password.
Tokens are JWTs of a key that lives as long as the process (RFC 7519; the claims are those of the
distribution project's token specification).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import bcrypt
import jwt

from sampan.base.errors import InvalidError
from sampan.images.core.hosting.access import Rule, Scope, allowed

__all__ = ["Identities", "Tokens", "read_users"]

_NOBODY: Final = b"$2b$05$............................................."
_REMEMBER_S: Final = 60.0
_REMEMBERED: Final = 1_000
_FILE_BYTES: Final = 1 << 20


def read_users(path: Path) -> dict[str, bytes]:
    """Return the hashes of an htpasswd file by name; InvalidError with the line that is wrong."""
    users: dict[str, bytes] = {}
    text = path.read_bytes()
    if len(text) > _FILE_BYTES:
        raise InvalidError(f"{path}: larger than {_FILE_BYTES >> 20} MiB")
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hash_ = line.strip().partition(":")
        if not colon or not hash_.startswith(("$2y$", "$2b$", "$2a$")):
            raise InvalidError(
                f"{path}:{number}: not a line of `htpasswd -B` (only bcrypt is taken)"
            )
        users[name] = hash_.replace("$2y$", "$2b$", 1).encode()
    return users


class Identities:
    """The users of a registry, with the rules for them."""

    def __init__(self, users: Mapping[str, bytes], rules: Sequence[Rule] | None) -> None:
        self._users = users
        self._rules = rules
        self._lately: dict[tuple[str, str], float] = {}

    def allowed(self, user: str | None, name: str) -> frozenset[str]:
        """Return what a user may do in a repository."""
        return allowed(self._rules, user, name)

    def grants(self, user: str | None, scope: Scope) -> bool:
        """Tell whether a user may do all of a scope. Any known user may list repositories."""
        if not scope.name:
            return user is not None
        return scope.actions <= self.allowed(user, scope.name)

    async def user_of(self, header: str) -> str | None:
        """Return who a `Basic` header proves to be, None when it proves nothing."""
        kind, _, text = header.partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if self._lately.get((name, password), 0.0) > time.monotonic():
            return name
        hash_ = self._users.get(name, _NOBODY)
        if not await asyncio.to_thread(_matches, password, hash_) or name not in self._users:
            return None
        if len(self._lately) >= _REMEMBERED:
            self._lately.clear()
        self._lately[name, password] = time.monotonic() + _REMEMBER_S
        return name


def _matches(password: str, hash_: bytes) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:72], hash_)
    except ValueError:
        return False


class Tokens:
    """Issues tokens and reads its own."""

    def __init__(self, service: str, lifetime_s: int = 300) -> None:
        self.service = service
        self.lifetime_s = lifetime_s
        self._key = secrets.token_bytes(32)

    def issue(self, user: str | None, access: Sequence[tuple[str, frozenset[str]]]) -> str:
        """Return a token for what its bearer may do: names of repositories and actions."""
        now = int(time.time())
        claims = {
            "iss": self.service,
            "aud": self.service,
            "sub": user or "",
            "iat": now,
            "nbf": now - 5,
            "exp": now + self.lifetime_s,
            "jti": secrets.token_hex(8),
            "access": [
                {
                    "type": "repository" if name else "registry",
                    "name": name or "catalog",
                    "actions": sorted(actions),
                }
                for name, actions in access
            ],
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def grants(self, token: str, scope: Scope) -> bool:
        """Tell whether a token is one of ours, valid, and covers a scope."""
        claims = self.read(token)
        if claims is None:
            return False
        kind = "repository" if scope.name else "registry"
        for entry in claims.get("access") or ():
            same = entry["type"] == kind and entry["name"] == (scope.name or "catalog")
            if same and scope.actions <= set(entry["actions"]):
                return True
        return False

    def read(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a valid token."""
        try:
            found: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=["HS256"], audience=self.service, issuer=self.service
            )
        except jwt.InvalidTokenError:
            return None
        return found
