"""What a registry asks for: the challenges of `WWW-Authenticate`, scopes, and what they answer.

Sources: RFC 9110, 11.6.1; the distribution specification's token authentication.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError

__all__ = [
    "Challenge",
    "Credentials",
    "credentials_for",
    "credentials_of",
    "decode_credentials",
    "decode_registries",
    "parse_challenges",
    "pull_scope",
]

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAME: Final = re.compile(rf"\s*,*\s*({_TOKEN})(?=[\s,]|$)")
_PARAMETER: Final = re.compile(rf'\s*,*\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_HEADER_BYTES: Final = 16 << 10


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. An identity token renews others; a registry token is used as it is."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server: str = ""

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Return the challenges of `WWW-Authenticate` headers; what cannot be read ends a header."""
    found: list[Challenge] = []
    for header in headers:
        header, at = header[:_HEADER_BYTES], 0
        while (name := _NAME.match(header, at)) is not None:
            at = name.end()
            parameters: dict[str, str] = {}
            while (pair := _PARAMETER.match(header, at)) is not None:
                quoted = pair[2]
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
                parameters[pair[1].lower()] = value
                at = pair.end()
            found.append(Challenge(name[1].lower(), parameters))
    return found


def pull_scope(path: str, *actions: str) -> str:
    """Return the scope of actions on a repository, `pull` by default."""
    return f"repository:{path}:{','.join(actions or ('pull',))}"


def decode_credentials(header: str) -> Credentials:
    """Return the credentials of an `X-Registry-Auth` header, none for an empty one.

    It is base64 of a JSON object, in the alphabet for URLs or the usual one, padded or not.
    """
    return credentials_of(_decoded(header, "X-Registry-Auth"))


def decode_registries(header: str) -> dict[str, Credentials]:
    """Return the credentials of an `X-Registry-Config` header by the registries' names."""
    document = _decoded(header, "X-Registry-Config")
    return {
        str(server): credentials_of(found)
        for server, found in document.items()
        if isinstance(found, Mapping)
    }


def credentials_for(known: Mapping[str, Credentials], domain: str) -> Credentials:
    """Return what is known for the registry of a domain, by its host or by a URL of it."""
    hosts = {domain, *(("index.docker.io",) if domain == "docker.io" else ())}
    for server, found in known.items():
        bare = server.removeprefix("https://").removeprefix("http://")
        if bare.partition("/")[0] in hosts:
            return found
    return Credentials()


def _decoded(header: str, name: str) -> Mapping[str, Any]:
    if not header:
        return {}
    try:
        text = header.strip().replace("-", "+").replace("_", "/").rstrip("=")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        document = json.loads(raw or "{}")
    except (ValueError, RecursionError):
        raise InvalidError(f"invalid {name} header: it is not JSON in base64") from None
    return document if isinstance(document, Mapping) else {}


def credentials_of(document: Mapping[str, Any]) -> Credentials:
    """Return the credentials of an object as Docker's API and configuration have it."""

    def text(name: str) -> str:
        value = document.get(name)
        return value if isinstance(value, str) else ""

    username, password = text("username"), text("password")
    if text("auth") and not username:
        try:
            pair = base64.b64decode(text("auth"), validate=True).decode().rstrip("\0")
        except ValueError:
            raise InvalidError("invalid auth configuration: auth is not base64") from None
        username, _, password = pair.partition(":")
    return Credentials(
        username, password, text("identitytoken"), text("registrytoken"), text("serveraddress")
    )
