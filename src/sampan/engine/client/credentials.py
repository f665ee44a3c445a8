"""Credentials for registries: `config.json` of Docker's tools, and the helpers that it names."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.base.errors import DeniedError, InvalidError, SampanError

__all__ = ["DEFAULT_REGISTRY", "Credential", "Credentials", "registry_header"]

DEFAULT_REGISTRY = "https://index.docker.io/v1/"
_HELPER_TIMEOUT_S = 60
_TOKEN_USER = "<token>"


class Credential(NamedTuple):
    """Who one is to a registry: a name and password, or an identity token."""

    server: str
    username: str = ""
    password: str = ""
    identity_token: str = ""


def registry_header(credential: Credential | None) -> str:
    """Return the value of X-Registry-Auth, empty for none."""
    if credential is None:
        return ""
    fields = {
        "username": credential.username,
        "password": credential.password,
        "serveraddress": credential.server,
        "identitytoken": credential.identity_token,
    }
    text = json.dumps({name: value for name, value in fields.items() if value})
    return base64.urlsafe_b64encode(text.encode()).decode()


class Credentials:
    """The credentials of one configuration directory; secrets are written 0600."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "config.json")

    def get(self, registry: str) -> Credential | None:
        """Return what is known of a registry, by its host or its whole address."""
        config = self._read()
        helper = _helper(config, registry)
        if helper:
            return _ask(helper, registry)
        found = config.get("auths") or {}
        for server, entry in found.items():
            if server == registry or _host(server) == _host(registry):
                return _entry(server, entry)
        return None

    def everything(self) -> list[Credential]:
        """Return all that is known, of every registry that the file names."""
        config = self._read()
        names = [*(config.get("auths") or {}), *(config.get("credHelpers") or {})]
        found = (self.get(name) for name in dict.fromkeys(names))
        return [one for one in found if one is not None]

    def store(self, credential: Credential) -> str:
        """Keep a credential, in its helper or in the file; returns the helper's name if any."""
        config = self._read()
        helper = _helper(config, credential.server)
        entry: dict[str, str] = {}
        if helper:
            token = credential.identity_token
            document = {
                "ServerURL": credential.server,
                "Username": _TOKEN_USER if token else credential.username,
                "Secret": token or credential.password,
            }
            _call(helper, "store", json.dumps(document))
        else:
            pair = f"{credential.username}:{credential.password}"
            entry["auth"] = base64.b64encode(pair.encode()).decode()
            if credential.identity_token:
                entry = {"auth": base64.b64encode(f"{credential.username}:".encode()).decode()}
                entry["identitytoken"] = credential.identity_token
        config.setdefault("auths", {})[credential.server] = entry
        self._write(config)
        return helper

    def erase(self, registry: str) -> bool:
        """Forget a registry; tells whether anything was known."""
        config = self._read()
        helper = _helper(config, registry)
        auths = config.get("auths") or {}
        known = [server for server in auths if _host(server) == _host(registry)]
        if helper:
            for server in known or [registry]:
                _call(helper, "erase", server)
        for server in known:
            del auths[server]
        if known:
            self._write(config)
        return bool(known)

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise InvalidError(f"error loading config file: {self._path}: {error}") from None
        if not isinstance(found, dict):
            raise InvalidError(f"error loading config file: {self._path}: not an object")
        return found

    def _write(self, config: Mapping[str, Any]) -> None:
        """Replace the file in one step; nobody else may read it."""
        path = os.path.realpath(self._path)
        directory = os.path.dirname(path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".config", dir=directory)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(config, file, indent="\t")
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def _host(server: str) -> str:
    rest = server.partition("://")[2] or server
    host = rest.partition("/")[0]
    return "index.docker.io" if host in ("docker.io", "registry-1.docker.io") else host


def _helper(config: Mapping[str, Any], registry: str) -> str:
    helpers = config.get("credHelpers") or {}
    named = helpers.get(registry) or helpers.get(_host(registry))
    return str(named or config.get("credsStore") or "")


def _entry(server: str, entry: Mapping[str, str]) -> Credential | None:
    token = entry.get("identitytoken") or ""
    try:
        text = base64.b64decode(entry.get("auth") or "", validate=True).decode()
    except ValueError:
        raise InvalidError(f"the credentials of {server} cannot be read") from None
    username, _, password = text.partition(":")
    username = username or entry.get("username") or ""
    password = password.strip("\0") or entry.get("password") or ""
    if not (username or token):
        return None
    return Credential(server, username, password, token)


def _ask(helper: str, registry: str) -> Credential | None:
    text = _call(helper, "get", registry)
    if not text:
        return None
    try:
        found = json.loads(text)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise SampanError(f"docker-credential-{helper} gave no credentials") from None
    if username == _TOKEN_USER:
        return Credential(registry, identity_token=secret)
    return Credential(registry, username, secret)


def _call(helper: str, verb: str, text: str) -> str:
    """Run a helper with the text at its standard input; the empty text when it knows nothing."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise InvalidError(f"invalid credential helper: {helper!r}")
    try:
        done = subprocess.run(
            [program, verb],
            input=text,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise SampanError(
            f'error getting credentials - err: exec: "{program}": executable file not found '
            "in $PATH"
        ) from None
    except subprocess.TimeoutExpired:
        raise SampanError(f"{program} did not answer within {_HELPER_TIMEOUT_S} s") from None
    if done.returncode == 0:
        return done.stdout
    said = done.stdout.strip() or done.stderr.strip()
    if verb == "erase" or "credentials not found" in said:
        return ""
    raise DeniedError(f"error getting credentials - err: exit status {done.returncode}: {said}")
