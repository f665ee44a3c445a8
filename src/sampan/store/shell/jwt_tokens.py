"""JSON Web Tokens (RFC 7519) with the claims username, revision and exp."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeGuard

from sampan.base.errors import SampanError
from sampan.store.core.auth import MAX_NAME_BYTES
from sampan.store.core.identity import Identity
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["METHODS", "JwtTokens"]

METHODS: Final = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)
"""The signing methods that `sign-method` may name."""

_MAX_REMEMBERED: Final = 1000


class JwtTokens:
    """Signs and verifies; with a public key alone it only verifies. `wall_clock` is Unix time."""

    logged = False

    def __init__(
        self,
        wall_clock: Callable[[], float],
        method: str,
        *,
        private_key_file: str,
        public_key_file: str,
        ttl_s: float,
    ) -> None:
        """Read the keys; for HS methods the private key file holds the shared secret.

        Raises SampanError for an unknown method, and for keys that are missing, unreadable, not of
        the method's kind or not a pair.
        """
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise SampanError(f"--auth-token: sign-method {method!r} is none of {known}")
        import jwt  # here, because it brings half of a cryptography library with it

        self._jwt: Any = jwt
        self._wall_clock = wall_clock
        self._method = method
        self._ttl_s = ttl_s
        # A signature is good for ever; checking it once a token is enough.
        self._verified: dict[str, dict[str, object]] = {}
        self._signing_key, self._verifying_key = _load_keys(
            method, private_key_file, public_key_file
        )

    def enable(self) -> None:
        """Do nothing: tokens are not kept."""

    def disable(self) -> None:
        """Do nothing: tokens are not kept."""

    def invalidate_user(self, user: str) -> None:
        """Do nothing: the change of the auth revision makes the user's tokens old."""

    def assign(self, user: str, token: str) -> None:
        """Do nothing: tokens are not kept."""

    def draw_prefix(self) -> str:
        """Return nothing: these tokens are not completed by the log."""
        return ""

    def sign(self, user: str, auth_rev: int) -> str:
        """Return a new token. Raises UNKNOWN when there is only a public key."""
        if self._signing_key is None:
            message = "auth: token signing attempted with verify-only key"
            raise RpcError(Code.UNKNOWN, message)
        claims = {
            "username": user,
            "revision": auth_rev,
            "exp": int(self._wall_clock() + self._ttl_s),
        }
        token: str = self._jwt.encode(claims, self._signing_key, algorithm=self._method)
        return token

    def lookup(self, token: str, auth_rev: int) -> Identity | None:
        """Return whom the token names, at the revision it was made; None if it does not hold."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
            if claims is None:
                return None
            if len(self._verified) >= _MAX_REMEMBERED:
                self._verified.clear()
            self._verified[token] = claims
        user, revision = claims.get("username"), claims.get("revision")
        if not isinstance(user, str) or len(user.encode()) > MAX_NAME_BYTES:
            return None
        if not _is_number(revision) or revision < 0 or not self._is_time(claims):
            return None
        return Identity(user, int(revision))

    def _verify(self, token: str) -> dict[str, object] | None:
        """Return the claims of a token that we signed; their times are judged by our own clock."""
        times = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            claims: dict[str, object] = self._jwt.decode(
                token,
                self._verifying_key,
                algorithms=[self._method],
                options={**times, "verify_aud": False, "verify_iss": False},
            )
        except self._jwt.PyJWTError:
            return None
        return claims

    def _is_time(self, claims: dict[str, object]) -> bool:
        now_s = self._wall_clock()
        expires_s, begins_s = claims.get("exp"), claims.get("nbf")
        if expires_s is not None and not (_is_number(expires_s) and now_s < expires_s):
            return False
        return begins_s is None or (_is_number(begins_s) and now_s >= begins_s)


def _load_keys(method: str, private_file: str, public_file: str) -> tuple[Any, Any]:
    """Return the keys to sign with (None: cannot) and to verify with."""
    private = _read(private_file) if private_file else b""
    public = _read(public_file) if public_file else b""
    if method.startswith("HS"):
        if not private:
            raise SampanError(f"--auth-token: {method} needs priv-key, a file with the secret")
        return private, private
    if not private and not public:
        raise SampanError(f"--auth-token: {method} needs priv-key or pub-key")
    return _key_pair(method, private, public)


def _key_pair(method: str, private: bytes, public: bytes) -> tuple[Any, Any]:
    from cryptography.hazmat.primitives import serialization as pem

    try:
        verifying = pem.load_pem_public_key(public) if public else None
        if not private:
            _check_kind(method, verifying)
            return None, verifying
        signing = pem.load_pem_private_key(private, password=None)
    except (ValueError, TypeError) as error:
        raise SampanError(f"--auth-token: unusable key: {error}") from None
    own: Any = signing.public_key()
    _check_kind(method, own)
    if verifying is not None and verifying != own:
        raise SampanError("--auth-token: public and private keys don't match")
    return signing, own


def _check_kind(method: str, key: object) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    wanted: type[object] = rsa.RSAPublicKey
    if method.startswith("ES"):
        wanted = ec.EllipticCurvePublicKey
    elif method == "EdDSA":
        wanted = ed25519.Ed25519PublicKey
    if not isinstance(key, wanted):
        raise SampanError(f"--auth-token: the key is not of the kind that {method} signs with")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SampanError(f"--auth-token: {path}: {error.strerror}") from None


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isfinite(value)
