"""Who may make a request: nobody asked, a password, or a token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sampan.base.errors import SampanError
from sampan.images.core.hosting.access import Scope, needed_scope, parse_scopes
from sampan.images.core.hosting.errors import HostingError
from sampan.images.core.hosting.routes import Target
from sampan.images.hosting.identity import Identities, Tokens
from sampan.loop.rest import Request, Response

__all__ = ["Gate", "UnauthorizedError"]

_JSON: Final = (("Content-Type", "application/json"),)


class UnauthorizedError(SampanError):
    """The client has to say who it is; `challenge` tells how."""

    def __init__(self, challenge: str, scope: Scope | None) -> None:
        super().__init__("authentication required")
        self.challenge = challenge
        self.scope = scope


class Gate:
    """Lets requests pass. Without identities all do; with tokens passwords are for tokens only."""

    def __init__(self, identities: Identities | None, tokens: Tokens | None) -> None:
        self._identities = identities
        self._tokens = tokens

    async def check(self, request: Request, target: Target) -> None:
        """Raise UnauthorizedError or HostingError unless the request may be made."""
        await self._check(request, needed_scope(request.method, target))

    async def check_pull(self, request: Request, name: str) -> None:
        """Raise UnauthorizedError or HostingError unless its client may pull from a repository."""
        await self._check(request, Scope(name, frozenset({"pull"})))

    async def _check(self, request: Request, scope: Scope | None) -> None:
        if self._identities is None:
            return
        header = request.headers.get("authorization", "")
        if self._tokens is not None:
            self._check_token(self._tokens, request, header, scope)
            return
        user = await self._identities.user_of(header)
        if header and user is None:
            raise UnauthorizedError('Basic realm="registry"', scope)
        if scope is None:
            if user is None:
                raise UnauthorizedError('Basic realm="registry"', scope)
            return
        if not self._identities.grants(user, scope):
            if user is None:
                raise UnauthorizedError('Basic realm="registry"', scope)
            raise _denied(scope)

    def _check_token(
        self, tokens: Tokens, request: Request, header: str, scope: Scope | None
    ) -> None:
        kind, _, token = header.partition(" ")
        if kind.lower() == "bearer":
            if scope is None and tokens.read(token) is not None:
                return
            if scope is not None and tokens.grants(token, scope):
                return
        raise UnauthorizedError(self._challenge(tokens, request, scope, bool(header)), scope)

    def _challenge(self, tokens: Tokens, request: Request, scope: Scope | None, tried: bool) -> str:
        host = request.headers.get("host", "localhost")
        scheme = "https" if request.connection.is_tls else "http"
        text = f'Bearer realm="{scheme}://{host}/v2/_token",service="{tokens.service}"'
        if scope is not None:
            text += f',scope="{scope}"'
        return text + (',error="insufficient_scope"' if tried and scope is not None else "")

    async def token(self, request: Request) -> Response:
        """Answer a request for a token with as much of what it asks for as its user may do."""
        if self._tokens is None or self._identities is None:
            raise HostingError("UNSUPPORTED", "this registry issues no tokens", status=404)
        header = request.headers.get("authorization", "")
        user = await self._identities.user_of(header)
        if header and user is None:
            raise UnauthorizedError('Basic realm="registry"', None)
        access = [
            (scope.name, self._granted(user, scope))
            for scope in parse_scopes(request.query.get("scope") or ())
        ]
        token = self._tokens.issue(user, [one for one in access if one[1]])
        found = {"token": token, "access_token": token, "expires_in": self._tokens.lifetime_s}
        return Response(200, json.dumps(found).encode(), _JSON)

    def _granted(self, user: str | None, scope: Scope) -> frozenset[str]:
        assert self._identities is not None
        if not scope.name:
            return scope.actions if user is not None else frozenset()
        return scope.actions & self._identities.allowed(user, scope.name)


def _denied(scope: Scope) -> HostingError:
    detail: Sequence[object] = [{"name": scope.name, "actions": sorted(scope.actions)}]
    return HostingError("DENIED", "requested access to the resource is denied", detail)
