"""Tokens: what a client shows instead of its password, and who is behind a call.

*Simple* tokens are random and kept in memory until they have not been used for a while. *JWT*
tokens carry their user and the auth revision, signed; nothing is kept, so they end only by their
time or by a change of the auth state. Without a token the common name of a verified client
certificate counts, if the server was told to look at it.

Semantics: etcd's server/auth/{simple_token,jwt,options,store}.go, release 3.6.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from random import Random
from string import ascii_letters
from typing import Final, Protocol

from sampan.base.errors import SampanError
from sampan.base.units import parse_duration_s
from sampan.store.core import errors
from sampan.store.core.auth import AuthStore
from sampan.store.core.identity import Identity, TokenBook
from sampan.store.shell.jwt_tokens import JwtTokens
from sampan.store.shell.passwords import Passwords
from sampan.wire.grpc.service import ServerCall
from sampan.wire.grpc.status import Metadata

__all__ = [
    "DEFAULT_TTL_S",
    "Authenticator",
    "SimpleTokens",
    "TokenProvider",
    "make_tokens",
    "token_of",
]

DEFAULT_TTL_S: Final = 300.0
"""How long a token is good: a simple one since its last use, a JWT since it was made."""

_PREFIX_LETTERS: Final = 16
_TOKEN_NAMES: Final = ("token", "authorization")
_JWT_OPTIONS: Final = frozenset(("pub-key", "priv-key", "sign-method", "ttl"))


class TokenProvider(TokenBook, Protocol):
    """One kind of token."""

    @property
    def logged(self) -> bool:
        """Whether every member must hear of a new token, by an entry of the log."""

    def lookup(self, token: str, auth_rev: int) -> Identity | None:
        """Return whom a token stands for, None for an invalid one; the store is at `auth_rev`."""

    def sign(self, user: str, auth_rev: int) -> str:
        """Return a token that needs no log entry. Raises RpcError."""

    def draw_prefix(self) -> str:
        """Return the random part of a token that the log completes."""


class SimpleTokens:
    """Random tokens in memory; each use makes one last for `ttl_s` more seconds.

    `clock` is monotonic. Tokens are kept by their digest, so that how long a look-up takes says
    nothing about how much of a guess was right.
    """

    logged = True

    def __init__(
        self, clock: Callable[[], float], random: Random, ttl_s: float = DEFAULT_TTL_S
    ) -> None:
        self._clock = clock
        self._random = random
        self._ttl_s = ttl_s if ttl_s > 0 else DEFAULT_TTL_S
        self._enabled = False
        # By deadline: every token lives equally long, and a used one goes to the end.
        self._tokens: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def count(self) -> int:
        """Return how many tokens are good now."""
        self._expire()
        return len(self._tokens)

    def enable(self) -> None:
        """Accept tokens from now on."""
        self._enabled = True

    def disable(self) -> None:
        """Forget all tokens and accept no new ones."""
        self._enabled = False
        self._tokens.clear()

    def invalidate_user(self, user: str) -> None:
        """Forget all tokens of one user."""
        gone = [digest for digest, (name, _) in self._tokens.items() if name == user]
        for digest in gone:
            del self._tokens[digest]

    def assign(self, user: str, token: str) -> None:
        """Let `token` stand for `user`."""
        if self._enabled:
            self._expire()
            self._tokens[_digest(token)] = (user, self._clock() + self._ttl_s)

    def lookup(self, token: str, auth_rev: int) -> Identity | None:
        """Return whom the token stands for as of `auth_rev`, and renew it."""
        self._expire()
        digest = _digest(token)
        found = self._tokens.get(digest)
        if found is None:
            return None
        user, _ = found
        self._tokens[digest] = (user, self._clock() + self._ttl_s)
        self._tokens.move_to_end(digest)
        return Identity(user, auth_rev)

    def sign(self, user: str, auth_rev: int) -> str:
        """Raise: a simple token exists only once the log has assigned it."""
        raise NotImplementedError

    def draw_prefix(self) -> str:
        """Return 16 random letters."""
        return "".join(self._random.choices(ascii_letters, k=_PREFIX_LETTERS))

    def _expire(self) -> None:
        now = self._clock()
        while self._tokens:
            digest, (_, deadline) = next(iter(self._tokens.items()))
            if deadline > now:
                return
            del self._tokens[digest]


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def make_tokens(
    spec: str,
    *,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    random: Random,
    ttl_s: float = DEFAULT_TTL_S,
) -> TokenProvider:
    """Return what `--auth-token` asks for: `simple`, or `jwt,sign-method=RS256,priv-key=FILE,...`.

    `clock` is monotonic and `wall_clock` Unix time, both in seconds; `random` must be
    unpredictable; `ttl_s` is `--auth-token-ttl`, which only simple tokens heed. Raises SampanError
    for an unknown kind, option or method, and for a key file that cannot be used.
    """
    kind, *pairs = spec.split(",")
    options = _options(spec, pairs)
    if kind == "simple":
        return SimpleTokens(clock, random, ttl_s)
    if kind != "jwt":
        raise SampanError(f"--auth-token: unknown kind of token {kind!r}; use simple or jwt")
    unknown = sorted(options.keys() - _JWT_OPTIONS)
    if unknown:
        known = ", ".join(sorted(_JWT_OPTIONS))
        raise SampanError(f"--auth-token: unknown JWT option {unknown[0]!r}; known are {known}")
    try:
        jwt_ttl_s = parse_duration_s(options["ttl"]) if options.get("ttl") else DEFAULT_TTL_S
    except ValueError as error:
        raise SampanError(f"--auth-token: ttl: {error}") from None
    return JwtTokens(
        wall_clock,
        options.get("sign-method", ""),
        private_key_file=options.get("priv-key", ""),
        public_key_file=options.get("pub-key", ""),
        ttl_s=jwt_ttl_s,
    )


def _options(spec: str, pairs: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or "=" in value or name in options:
            raise SampanError(f"--auth-token: invalid option {pair!r} in {spec!r}")
        options[name] = value
    return options


class Authenticator:
    """Says who is behind a call, and turns a name and password into a token."""

    def __init__(
        self,
        auth: AuthStore,
        tokens: TokenProvider,
        passwords: Passwords,
        *,
        client_cert_auth: bool = False,
    ) -> None:
        """`tokens` must be the ones `auth` was made with; `client_cert_auth` admits CNs."""
        self.auth = auth
        self.tokens = tokens
        self.passwords = passwords
        self._client_cert_auth = client_cert_auth

    def identify(self, call: ServerCall) -> Identity | None:
        """Return who calls; None while authentication is off, and for a call that does not say.

        What needs a user then fails with USER_EMPTY. Raises INVALID_AUTH_TOKEN.
        """
        if not self.auth.enabled:
            return None
        metadata = call.metadata
        token = token_of(metadata)
        if token is not None:
            identity = self.tokens.lookup(token, self.auth.revision)
            if identity is None:
                raise errors.INVALID_AUTH_TOKEN()
            return identity
        name = call.peer.common_name
        # Behind the JSON gateway the certificate may be the gateway's, not the client's.
        if self._client_cert_auth and name and not _through_gateway(metadata):
            return Identity(name, self.auth.revision)
        return None

    def close(self) -> None:
        """Release the threads."""
        self.passwords.close()


def token_of(metadata: Metadata) -> str | None:
    """Return the auth token that a call shows, None without one."""
    for name in _TOKEN_NAMES:
        for key, value in metadata:
            if key == name:
                return value if isinstance(value, str) else value.decode(errors="replace")
    return None


def _through_gateway(metadata: Metadata) -> bool:
    return any(name == "grpcgateway-accept" for name, _ in metadata)
