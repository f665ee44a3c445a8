"""Showing a registry who asks: basic credentials, or tokens for scopes from its token server.

Source: the distribution specification's "token" and "oauth2" documents.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sampan.base.errors import DeniedError, InvalidError
from sampan.images.core.challenge import Challenge, Credentials
from sampan.images.core.endpoint import Endpoint
from sampan.images.core.refusal import RegistryError, UnauthorizedError, refusal
from sampan.images.registry.transport import Transport, read_bounded

__all__ = ["Authorization"]

_CLIENT: Final = "sampan"
_SHORTEST_S: Final = 60.0
_MARGIN_S: Final = 5.0


class Authorization:
    """The `Authorization` headers for one registry and one user, renewed when they have expired."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._credentials = credentials
        self._challenges: Sequence[Challenge] = ()
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._fetching = asyncio.Lock()
        self.identity_token = ""

    def challenge(self, challenges: Sequence[Challenge], scopes: Sequence[str] = ()) -> None:
        """Note what the registry asks for; what it has refused is not used again."""
        self._challenges = challenges
        self._tokens.pop(tuple(scopes), None)

    async def header(self, scopes: Sequence[str], *, offline: bool = False) -> str | None:
        """Return the header's value for these scopes, None while the registry has not asked.

        Raises DeniedError without the credentials that it wants, RegistryError when the token
        server refuses.
        """
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        for challenge in self._challenges:
            if challenge.scheme == "bearer":
                return f"Bearer {await self._token(challenge, tuple(scopes), offline)}"
        for challenge in self._challenges:
            if challenge.scheme == "basic":
                if not self._credentials.username:
                    raise DeniedError("no basic auth credentials")
                return self._credentials.basic
        if self._challenges:
            raise DeniedError(f"no way to answer the challenge {self._challenges[0].scheme}")
        return None

    async def _token(self, challenge: Challenge, scopes: tuple[str, ...], offline: bool) -> str:
        async with self._fetching:
            now_s = asyncio.get_running_loop().time()
            token, until_s = self._tokens.get(scopes, ("", 0.0))
            if now_s < until_s:
                return token
            answer = await self._ask(challenge, scopes, offline)
            found = answer.get("token") or answer.get("access_token")
            if not isinstance(found, str) or not found or not found.isprintable():
                raise DeniedError("authorization server did not include a token in the response")
            life_s = answer.get("expires_in")
            if not isinstance(life_s, (int, float)) or life_s < _SHORTEST_S:
                life_s = _SHORTEST_S
            self._tokens[scopes] = (found, now_s + life_s - _MARGIN_S)
            renewal = answer.get("refresh_token")
            if isinstance(renewal, str):
                self.identity_token = renewal
            return found

    async def _ask(
        self, challenge: Challenge, scopes: Sequence[str], offline: bool
    ) -> Mapping[str, Any]:
        realm = self._realm(challenge)
        service = challenge.parameters.get("service", "")
        who = self._credentials
        if who.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT,
                "scope": " ".join(scopes),
                "refresh_token": who.identity_token,
            }
            return await self._answer("POST", realm, data=form)
        query = [("scope", scope) for scope in scopes]
        if service:
            query.insert(0, ("service", service))
        headers = {}
        if who.username:
            query.append(("account", who.username))
            headers["Authorization"] = who.basic
        if offline:
            query += [("offline_token", "true"), ("client_id", _CLIENT)]
        return await self._answer("GET", realm, params=query, headers=headers)

    def _realm(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        scheme = urlsplit(realm).scheme
        if scheme not in ("http", "https"):
            raise InvalidError(f"no realm for token authentication: {realm!r}")
        secure = self._endpoint.url.startswith("https:")
        if scheme == "http" and secure and self._credentials:
            raise DeniedError(f"credentials are not sent to {realm}, which has no TLS")
        return realm

    async def _answer(self, method: str, url: str, **more: Any) -> Mapping[str, Any]:
        host = urlsplit(url).netloc
        same = host == self._endpoint.host
        place = Endpoint(url, host, verify=self._endpoint.verify or not same)
        async with self._transport.request(place, method, url, **more) as response:
            body = await read_bounded(response)
            if response.status != 200:
                raise _token_refusal(refusal(response.status, response.reason or "", body))
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, Mapping):
            raise InvalidError(f"{urlsplit(url).netloc}: the token server's answer is not JSON")
        return found


def _token_refusal(error: RegistryError) -> RegistryError:
    if isinstance(error, UnauthorizedError) and not str(error).startswith("unauthorized"):
        return UnauthorizedError(f"unauthorized: {error}", error.status, error.code)
    return error
