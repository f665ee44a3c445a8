"""Tokens: what they stand for, how long, and who is behind a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.store.buckets import Buckets

from sampan.base.errors import SampanError
from sampan.store.core import errors
from sampan.store.core.auth import AuthStore
from sampan.store.core.entry import Kind
from sampan.store.core.identity import Identity
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.shell.auth_tokens import Authenticator, SimpleTokens, TokenProvider, make_tokens
from sampan.store.shell.passwords import Passwords
from sampan.wire.grpc.service import Peer
from sampan.wire.grpc.status import Code, Metadata, RpcError

SECRET = "a shared secret that is long enough for HS256"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


HERE = Peer("127.0.0.1:1")


class Clock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Call:
    """As much of a call as says who makes it."""

    metadata: Metadata = ()
    peer: Peer = HERE
    path: str = ""
    timeout_s: float | None = None
    done: bool = False

    def fail(self, code: Code, message: str, metadata: Metadata = ()) -> None:
        raise AssertionError(message)

    def on_done(self, callback: Callable[[], None]) -> None:
        raise AssertionError


# -- simple tokens


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simple(clock: Clock) -> SimpleTokens:
    tokens = SimpleTokens(clock, Random(7), ttl_s=10)
    tokens.enable()
    return tokens


def test_a_token_stands_for_its_user_at_the_revision_of_now(simple: SimpleTokens) -> None:
    simple.assign("u", "abc.1")
    assert simple.lookup("abc.1", 5) == Identity("u", 5)
    assert simple.lookup("abc.1", 6) == Identity("u", 6)
    assert simple.lookup("abc.2", 5) is None


def test_use_keeps_a_token_alive(simple: SimpleTokens, clock: Clock) -> None:
    simple.assign("u", "used")
    simple.assign("u", "idle")
    for _ in range(5):
        clock.now_s += 9
        assert simple.lookup("used", 1) is not None
    assert simple.lookup("idle", 1) is None
    clock.now_s += 10
    assert simple.lookup("used", 1) is None
    assert simple.count() == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["assign", "use", "invalidate"]),
            st.sampled_from("abc"),
            st.floats(0, 6),
        ),
        max_size=30,
    )
)
def test_tokens_live_as_a_plain_table_of_deadlines_says(
    steps: list[tuple[str, str, float]],
) -> None:
    clock = Clock()
    tokens = SimpleTokens(clock, Random(7), ttl_s=10)
    tokens.enable()
    deadlines: dict[str, float] = {}
    for what, name, pause_s in steps:
        clock.now_s += pause_s
        deadlines = {token: at for token, at in deadlines.items() if at > clock.now_s}
        if what == "assign" and name not in deadlines:
            tokens.assign(f"user-{name}", name)
            deadlines[name] = clock.now_s + 10
        elif what == "use":
            assert (tokens.lookup(name, 1) is not None) == (name in deadlines)
            if name in deadlines:
                deadlines[name] = clock.now_s + 10
        elif what == "invalidate":
            tokens.invalidate_user(f"user-{name}")
            deadlines.pop(name, None)
        assert tokens.count() == len(deadlines)


def test_invalidating_a_user_leaves_the_others(simple: SimpleTokens) -> None:
    simple.assign("u", "a")
    simple.assign("v", "b")
    simple.invalidate_user("u")
    assert simple.lookup("a", 1) is None
    assert simple.lookup("b", 1) is not None


def test_switched_off_there_are_no_tokens(simple: SimpleTokens) -> None:
    simple.assign("u", "a")
    simple.disable()
    simple.assign("u", "b")
    assert simple.count() == 0
    simple.enable()
    assert simple.lookup("a", 1) is None


def test_prefixes_are_sixteen_letters_and_differ(simple: SimpleTokens) -> None:
    prefixes = {simple.draw_prefix() for _ in range(50)}
    assert len(prefixes) == 50
    assert all(len(prefix) == 16 and prefix.isalpha() for prefix in prefixes)


# -- JSON web tokens


def pem_files(directory: Path, key: PrivateKey) -> tuple[Path, Path]:
    private, public = directory / "private.pem", directory / "public.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def tokens_of(spec: str, clock: Clock) -> TokenProvider:
    return make_tokens(spec, clock=clock, wall_clock=clock, random=Random(7))


@pytest.fixture
def hs256(tmp_path: Path, clock: Clock) -> TokenProvider:
    (tmp_path / "secret").write_text(SECRET)
    return tokens_of(f"jwt,sign-method=HS256,priv-key={tmp_path}/secret,ttl=10m", clock)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("PS256", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_a_public_key_verifies_what_the_private_one_signed(
    tmp_path: Path, clock: Clock, method: str, key: PrivateKey
) -> None:
    private, public = pem_files(tmp_path, key)
    signer = tokens_of(f"jwt,sign-method={method},priv-key={private},pub-key={public}", clock)
    verifier = tokens_of(f"jwt,sign-method={method},pub-key={public}", clock)
    token = signer.sign("u", 3)
    # The revision is the one it was made at, not that of now.
    assert signer.lookup(token, 9) == verifier.lookup(token, 9) == Identity("u", 3)
    assert verifier.lookup(token[:-4] + "AAAA", 9) is None
    with pytest.raises(RpcError, match="verify-only"):
        verifier.sign("u", 3)


def test_a_jwt_ends_by_its_time(hs256: TokenProvider, clock: Clock) -> None:
    token = hs256.sign("u", 3)
    clock.now_s += 599
    assert hs256.lookup(token, 3) is not None
    clock.now_s += 2
    assert hs256.lookup(token, 3) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"revision": 1},
        {"username": 5, "revision": 1},
        {"username": "u"},
        {"username": "u", "revision": "1"},
        {"username": "u", "revision": True},
        {"username": "u", "revision": -1},
        {"username": "u" * 1000, "revision": 1},
        {"username": "u", "revision": 1, "exp": "never"},
        {"username": "u", "revision": 1, "nbf": 5000},
    ],
)
def test_claims_that_say_nothing(hs256: TokenProvider, claims: dict[str, object]) -> None:
    assert hs256.lookup(jwt.encode(claims, SECRET, algorithm="HS256"), 1) is None


def test_another_algorithm_or_none_is_refused(hs256: TokenProvider) -> None:
    claims = {"username": "root", "revision": 1}
    assert hs256.lookup(jwt.encode(claims, SECRET, algorithm="HS256"), 1) is not None
    for forged in (
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, SECRET * 2, algorithm="HS512"),
        jwt.encode(claims, SECRET + "?", algorithm="HS256"),
        "",
        "a.b.c",
        "nonsense",
    ):
        assert hs256.lookup(forged, 1) is None


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("magic", "unknown kind of token"),
        ("jwt", "sign-method '' is none of"),
        ("jwt,sign-method=none", "sign-method 'none' is none of"),
        ("jwt,sign-method=HS256", "needs priv-key"),
        ("jwt,sign-method=RS256", "needs priv-key or pub-key"),
        ("jwt,sign-method=RS256,priv-key=/nonexistent", "/nonexistent"),
        ("jwt,sign-method=HS256,sign-method=HS256", "invalid option"),
        ("jwt,sign-method", "invalid option"),
        ("jwt,sign-method=HS256,colour=red", "unknown JWT option 'colour'"),
        ("jwt,sign-method=HS256,ttl=soon", "ttl"),
    ],
)
def test_what_the_flag_may_not_say(clock: Clock, spec: str, complaint: str) -> None:
    with pytest.raises(SampanError) as caught:
        tokens_of(spec, clock)
    assert complaint in str(caught.value)


def test_keys_that_do_not_fit(tmp_path: Path, clock: Clock) -> None:
    private, _ = pem_files(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SampanError, match="not of the kind that RS256"):
        tokens_of(f"jwt,sign-method=RS256,priv-key={private}", clock)
    other = tmp_path / "other"
    other.mkdir()
    _, public = pem_files(other, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SampanError, match="don't match"):
        tokens_of(f"jwt,sign-method=ES256,priv-key={private},pub-key={public}", clock)
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(SampanError, match="unusable key"):
        tokens_of(f"jwt,sign-method=ES256,priv-key={tmp_path}/junk", clock)


# -- who is behind a call


def authenticator(clock: Clock, *, client_cert_auth: bool = False) -> Authenticator:
    tokens = SimpleTokens(clock, Random(7))
    auth = AuthStore(Buckets(), tokens)
    for kind, request in (
        (Kind.AUTH_USER_ADD, rpc.AuthUserAddRequest(name="root")),
        (Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user="root", role="root")),
        (Kind.AUTH_ENABLE, rpc.AuthEnableRequest()),
    ):
        auth.apply(kind, request.SerializeToString())
    tokens.assign("u", "tok.1")
    return Authenticator(auth, tokens, Passwords(4), client_cert_auth=client_cert_auth)


def test_nobody_is_asked_while_authentication_is_off(clock: Clock) -> None:
    tokens = SimpleTokens(clock, Random(7))
    off = Authenticator(AuthStore(Buckets(), tokens), tokens, Passwords(4))
    assert off.identify(Call((("token", "whatever"),))) is None


@pytest.mark.parametrize("name", ["token", "authorization"])
def test_a_token_comes_in_the_metadata(clock: Clock, name: str) -> None:
    gate = authenticator(clock)
    assert gate.identify(Call(((name, "tok.1"),))) == Identity("u", gate.auth.revision)


def test_a_bad_token_is_refused_and_no_token_is_nobody(clock: Clock) -> None:
    gate = authenticator(clock)
    with pytest.raises(RpcError) as caught:
        gate.identify(Call((("token", "tok.2"),)))
    assert errors.INVALID_AUTH_TOKEN.matches(caught.value)
    assert gate.identify(Call()) is None


def test_a_certificates_name_counts_only_if_asked_for_and_without_a_token(clock: Clock) -> None:
    peer = Peer("127.0.0.1:1", common_name="alice")
    assert authenticator(clock).identify(Call(peer=peer)) is None
    gate = authenticator(clock, client_cert_auth=True)
    assert gate.identify(Call(peer=peer)) == Identity("alice", gate.auth.revision)
    named = Call((("token", "tok.1"),), peer=peer)
    assert gate.identify(named) == Identity("u", gate.auth.revision)


def test_a_certificates_name_does_not_count_behind_the_gateway(clock: Clock) -> None:
    gate = authenticator(clock, client_cert_auth=True)
    call = Call((("grpcgateway-accept", "*/*"),), peer=Peer("127.0.0.1:1", common_name="alice"))
    assert gate.identify(call) is None


# -- passwords


def test_a_password_matches_its_own_hash_only() -> None:
    async def check() -> None:
        passwords = Passwords(4)
        hashed = await passwords.hash("secret")
        assert hashed.startswith(b"$2a$04$")
        assert await passwords.matches(hashed, "secret")
        assert not await passwords.matches(hashed, "Secret")
        assert not await passwords.matches(b"", "")
        assert not await passwords.matches(b"no hash", "secret")
        with pytest.raises(RpcError, match="exceeds 72 bytes"):
            await passwords.hash("x" * 73)
        passwords.close()

    asyncio.run(check())


def test_a_senseless_cost_means_the_default() -> None:
    assert Passwords(3).cost == Passwords(32).cost == 10
