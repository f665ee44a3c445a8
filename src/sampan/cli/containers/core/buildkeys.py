"""What `--secret` and `--ssh` of a build say."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sampan.base.errors import InvalidError

__all__ = ["Secret", "parse_secrets", "parse_ssh"]


class Secret(NamedTuple):
    """A secret by id: from a file, or else from a variable of the environment."""

    id: str
    file: str
    variable: str


def parse_secrets(texts: Sequence[str]) -> list[Secret]:
    """Return the secrets of `id=x[,src=file][,env=VARIABLE][,type=file|env]`.

    Without a source an id is the variable of its name, or else the file. Raises InvalidError.
    """
    return [_secret(text) for text in texts]


def _secret(text: str) -> Secret:
    fields: dict[str, str] = {}
    for part in next(csv.reader([text]), []):
        key, equals, value = part.strip().partition("=")
        name = {"src": "source"}.get(key.lower(), key.lower())
        if not equals or name not in ("id", "source", "env", "type"):
            raise InvalidError(f"invalid --secret {part!r}: use id=, src=, env=, type=")
        fields[name] = value
    kind = fields.get("type", "")
    if kind not in ("", "file", "env"):
        raise InvalidError(f"unsupported secret type {kind!r}: use file or env")
    if not fields.get("id"):
        raise InvalidError("a secret needs an id: --secret id=NAME,src=FILE")
    file, variable = fields.get("source", ""), fields.get("env", "")
    if kind == "env" and file:
        file, variable = "", file
    if file and variable:
        raise InvalidError(f"secret {fields['id']}: src and env exclude each other")
    return Secret(fields["id"], file, variable)


def parse_ssh(texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return sockets of agents by id, of `default` or `id=socket`.

    Raises InvalidError for an id without a socket when there is no SSH_AUTH_SOCK.
    """
    found = {}
    for text in texts:
        name, _, path = text.partition("=")
        path = path or environment.get("SSH_AUTH_SOCK", "")
        if not name or not path:
            raise InvalidError(f"--ssh {text}: no agent: set SSH_AUTH_SOCK, or use id=SOCKET")
        found[name] = path
    return found
