"""Users, roles and permissions as the log changes them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from google.protobuf.message import Message
from tests.store.buckets import Buckets

from sampan.store.core import errors
from sampan.store.core.auth import MAX_NAME_BYTES, AuthStore, authenticate_body
from sampan.store.core.entry import Kind
from sampan.store.core.errors import StoreError
from sampan.store.core.identity import ANONYMOUS, Identity
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.pb.auth_pb2 import Permission, User, UserAddOptions
from sampan.wire.grpc.status import RpcError

HASH = b"$2b$04$not-looked-at-here"


class Book:
    """Remembers what the store said about tokens."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def enable(self) -> None:
        self.heard.append("enable")

    def disable(self) -> None:
        self.heard.append("disable")

    def invalidate_user(self, user: str) -> None:
        self.heard.append(f"invalidate {user}")

    def assign(self, user: str, token: str) -> None:
        self.heard.append(f"assign {user} {token}")


def user_add(name: str, *, no_password: bool = False) -> rpc.AuthUserAddRequest:
    return rpc.AuthUserAddRequest(
        name=name,
        hashedPassword="" if no_password else b64encode(HASH).decode(),
        options=UserAddOptions(no_password=no_password),
    )


def grant_permission(
    role: str, key: bytes, range_end: bytes = b"", kind: Permission.Type = Permission.READWRITE
) -> rpc.AuthRoleGrantPermissionRequest:
    perm = Permission(permType=kind, key=key, range_end=range_end)
    return rpc.AuthRoleGrantPermissionRequest(name=role, perm=perm)


class Store:
    """An auth store, its backend, and short names for the requests."""

    def __init__(self) -> None:
        self.backend = Buckets()
        self.book = Book()
        self.auth = AuthStore(self.backend, self.book)

    def do(self, kind: Kind, request: Message) -> Message:
        return self.auth.apply(kind, request.SerializeToString())

    def refuses(self, error: StoreError, kind: Kind, request: Message) -> None:
        before, revision = dict(self.backend.buckets), self.auth.revision
        with pytest.raises(RpcError) as caught:
            self.do(kind, request)
        assert error.matches(caught.value), caught.value
        assert (dict(self.backend.buckets), self.auth.revision) == (before, revision)

    def user(self, name: str, *roles: str) -> None:
        self.do(Kind.AUTH_USER_ADD, user_add(name))
        for role in roles:
            self.do(Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user=name, role=role))

    def role(self, name: str) -> None:
        self.do(Kind.AUTH_ROLE_ADD, rpc.AuthRoleAddRequest(name=name))

    def enable(self) -> None:
        self.user("root", "root")
        self.do(Kind.AUTH_ENABLE, rpc.AuthEnableRequest())

    def roles_of(self, user: str) -> list[str]:
        return list(self.auth.user_get(rpc.AuthUserGetRequest(name=user)).roles)

    def perms_of(self, role: str) -> list[tuple[bytes, bytes, int]]:
        perms = self.auth.role_get(rpc.AuthRoleGetRequest(role=role)).perm
        return [(p.key, p.range_end, p.permType) for p in perms]


@pytest.fixture
def store() -> Store:
    return Store()


# -- switching on and off


def test_a_new_store_is_off_at_revision_one(store: Store) -> None:
    status = store.auth.status()
    assert (status.enabled, status.authRevision) == (False, 1)
    assert store.auth.root_identity() == ANONYMOUS


def test_enabling_needs_a_root_user_with_the_root_role(store: Store) -> None:
    enable = rpc.AuthEnableRequest()
    store.refuses(errors.ROOT_USER_NOT_EXIST, Kind.AUTH_ENABLE, enable)
    store.user("root")
    store.refuses(errors.ROOT_ROLE_NOT_EXIST, Kind.AUTH_ENABLE, enable)
    store.do(Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user="root", role="root"))
    revision = store.auth.revision
    store.do(Kind.AUTH_ENABLE, enable)
    assert store.auth.enabled
    assert store.auth.revision == revision
    store.do(Kind.AUTH_ENABLE, enable)
    assert store.book.heard.count("enable") == 1


def test_disabling_is_a_new_revision_once(store: Store) -> None:
    store.enable()
    revision = store.auth.revision
    store.do(Kind.AUTH_DISABLE, rpc.AuthDisableRequest())
    store.do(Kind.AUTH_DISABLE, rpc.AuthDisableRequest())
    assert not store.auth.enabled
    assert store.auth.revision == revision + 1
    assert store.book.heard[-1] == "disable"


def test_the_server_itself_acts_as_root(store: Store) -> None:
    store.enable()
    assert store.auth.root_identity() == Identity("root", store.auth.revision)


def test_a_restart_finds_everything_again(store: Store) -> None:
    store.role("r")
    store.do(Kind.AUTH_ROLE_GRANT_PERMISSION, grant_permission("r", b"k"))
    store.user("u", "r")
    store.enable()
    again = AuthStore(store.backend)
    assert again.enabled
    assert again.revision == store.auth.revision
    grants = again.grants("u")
    assert grants is not None and grants.may_write(b"k")


def test_buckets_hold_what_etcd_holds(store: Store) -> None:
    store.user("u")
    store.enable()
    assert store.backend.get("auth", b"authEnabled") == b"\x01"
    assert store.backend.get("auth", b"authRevision") == store.auth.revision.to_bytes(8, "big")
    user = User.FromString(store.backend.buckets["authUsers", b"u"])
    assert (user.name, user.password, list(user.roles)) == (b"u", HASH, [])
    assert user.HasField("options")


# -- users


def test_user_names_are_listed_in_order(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.user(name)
    assert list(store.auth.user_list().users) == ["a", "b", "c"]


def test_users_that_are_refused(store: Store) -> None:
    store.user("u")
    store.refuses(errors.USER_EMPTY, Kind.AUTH_USER_ADD, user_add(""))
    store.refuses(errors.USER_ALREADY_EXIST, Kind.AUTH_USER_ADD, user_add("u"))
    store.refuses(errors.NAME_TOO_LONG, Kind.AUTH_USER_ADD, user_add("u" * (MAX_NAME_BYTES + 1)))
    store.refuses(
        errors.NO_PASSWORD_USER,
        Kind.AUTH_USER_ADD,
        rpc.AuthUserAddRequest(name="v", hashedPassword="not base64"),
    )


def test_unknown_users_are_not_found(store: Store) -> None:
    for kind, request in (
        (Kind.AUTH_USER_DELETE, rpc.AuthUserDeleteRequest(name="x")),
        (Kind.AUTH_USER_CHANGE_PASSWORD, rpc.AuthUserChangePasswordRequest(name="x")),
        (Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user="x", role="root")),
        (Kind.AUTH_USER_REVOKE_ROLE, rpc.AuthUserRevokeRoleRequest(name="x", role="r")),
        (Kind.AUTH_USER_DELETE, rpc.AuthUserDeleteRequest(name="")),
    ):
        store.refuses(errors.USER_NOT_FOUND, kind, request)
    with pytest.raises(RpcError) as caught:
        store.auth.user_get(rpc.AuthUserGetRequest(name="x"))
    assert errors.USER_NOT_FOUND.matches(caught.value)


def test_deleting_a_user_voids_its_tokens(store: Store) -> None:
    store.user("u")
    store.do(Kind.AUTH_USER_DELETE, rpc.AuthUserDeleteRequest(name="u"))
    assert store.book.heard[-1] == "invalidate u"
    assert store.auth.grants("u") is None


def test_root_cannot_be_deleted_while_it_counts(store: Store) -> None:
    delete = rpc.AuthUserDeleteRequest(name="root")
    store.enable()
    store.refuses(errors.INVALID_AUTH_MANAGEMENT, Kind.AUTH_USER_DELETE, delete)
    store.do(Kind.AUTH_DISABLE, rpc.AuthDisableRequest())
    store.do(Kind.AUTH_USER_DELETE, delete)


def test_changing_a_password_keeps_roles_and_voids_tokens(store: Store) -> None:
    store.role("r")
    store.user("u", "r")
    new = b64encode(b"other").decode()
    store.do(
        Kind.AUTH_USER_CHANGE_PASSWORD,
        rpc.AuthUserChangePasswordRequest(name="u", hashedPassword=new),
    )
    assert store.roles_of("u") == ["r"]
    assert store.book.heard[-1] == "invalidate u"
    store.enable()
    assert store.auth.credentials("u").password_hash == b"other"


# -- roles


def test_roles_of_a_user_are_sorted_and_granted_once(store: Store) -> None:
    for role in ("b", "a"):
        store.role(role)
    store.user("u", "b", "a")
    revision = store.auth.revision
    store.do(Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user="u", role="a"))
    assert store.roles_of("u") == ["a", "b"]
    assert store.auth.revision == revision


def test_roles_that_are_refused(store: Store) -> None:
    store.role("r")
    store.user("u")
    store.refuses(errors.ROLE_EMPTY, Kind.AUTH_ROLE_ADD, rpc.AuthRoleAddRequest())
    store.refuses(errors.ROLE_ALREADY_EXIST, Kind.AUTH_ROLE_ADD, rpc.AuthRoleAddRequest(name="r"))
    store.refuses(
        errors.ROLE_NOT_FOUND,
        Kind.AUTH_USER_GRANT_ROLE,
        rpc.AuthUserGrantRoleRequest(user="u", role="x"),
    )
    store.refuses(
        errors.ROLE_NOT_GRANTED,
        Kind.AUTH_USER_REVOKE_ROLE,
        rpc.AuthUserRevokeRoleRequest(name="u", role="r"),
    )
    store.refuses(errors.ROLE_NOT_FOUND, Kind.AUTH_ROLE_DELETE, rpc.AuthRoleDeleteRequest(role="x"))


def test_deleting_a_role_takes_it_from_its_users(store: Store) -> None:
    for role in ("r", "s"):
        store.role(role)
    store.user("u", "r", "s")
    store.do(Kind.AUTH_ROLE_DELETE, rpc.AuthRoleDeleteRequest(role="r"))
    assert store.roles_of("u") == ["s"]
    assert list(store.auth.role_list().roles) == ["s"]


def test_the_root_role_is_protected_while_it_counts(store: Store) -> None:
    store.role("root")
    store.enable()
    store.refuses(
        errors.INVALID_AUTH_MANAGEMENT,
        Kind.AUTH_ROLE_DELETE,
        rpc.AuthRoleDeleteRequest(role="root"),
    )
    store.refuses(
        errors.INVALID_AUTH_MANAGEMENT,
        Kind.AUTH_USER_REVOKE_ROLE,
        rpc.AuthUserRevokeRoleRequest(name="root", role="root"),
    )


def test_the_root_role_shows_as_everything(store: Store) -> None:
    store.role("root")
    assert store.perms_of("root") == [(b"", b"\0", Permission.READWRITE)]


# -- permissions


def test_permissions_are_sorted_by_key_and_replaced_in_place(store: Store) -> None:
    store.role("r")
    for request in (
        grant_permission("r", b"b"),
        grant_permission("r", b"a", b"c"),
        grant_permission("r", b"a"),
        grant_permission("r", b"b", kind=Permission.READ),
    ):
        store.do(Kind.AUTH_ROLE_GRANT_PERMISSION, request)
    assert store.perms_of("r") == [
        (b"a", b"c", Permission.READWRITE),
        (b"a", b"", Permission.READWRITE),
        (b"b", b"", Permission.READ),
    ]


def test_permissions_that_are_refused(store: Store) -> None:
    store.role("r")
    kind = Kind.AUTH_ROLE_GRANT_PERMISSION
    store.refuses(errors.PERMISSION_NOT_GIVEN, kind, rpc.AuthRoleGrantPermissionRequest(name="r"))
    store.refuses(errors.INVALID_AUTH_MANAGEMENT, kind, grant_permission("r", b""))
    store.refuses(errors.INVALID_AUTH_MANAGEMENT, kind, grant_permission("r", b"b", b"a"))
    store.refuses(errors.ROLE_NOT_FOUND, kind, grant_permission("x", b"k"))
    store.refuses(
        errors.PERMISSION_NOT_GRANTED,
        Kind.AUTH_ROLE_REVOKE_PERMISSION,
        rpc.AuthRoleRevokePermissionRequest(role="r", key=b"k"),
    )


def test_what_is_revoked_is_gone_at_once(store: Store) -> None:
    store.role("r")
    store.user("u", "r")
    store.do(Kind.AUTH_ROLE_GRANT_PERMISSION, grant_permission("r", b"a", b"b"))
    before = store.auth.grants("u")
    assert before is not None and before.may_read(b"a")
    store.do(
        Kind.AUTH_ROLE_REVOKE_PERMISSION,
        rpc.AuthRoleRevokePermissionRequest(role="r", key=b"a", range_end=b"b"),
    )
    after = store.auth.grants("u")
    assert after is not None and not after.may_read(b"a")


def test_every_change_is_heard_and_is_a_new_revision(store: Store) -> None:
    seen: list[int] = []
    store.auth.observer = lambda: seen.append(store.auth.revision)
    store.role("r")
    store.user("u", "r")
    store.do(Kind.AUTH_ROLE_GRANT_PERMISSION, grant_permission("r", b"k"))
    assert seen == [2, 3, 4, 5]


# -- authentication


def test_a_token_is_the_drawn_prefix_and_the_entrys_index(store: Store) -> None:
    store.enable()
    answer = store.auth.apply(Kind.AUTHENTICATE, authenticate_body("root", "abc"), index=17)
    assert isinstance(answer, rpc.AuthenticateResponse)
    assert answer.token == "abc.17"
    assert store.book.heard[-1] == "assign root abc.17"


def test_who_cannot_authenticate(store: Store) -> None:
    body = authenticate_body("u", "abc")
    with pytest.raises(RpcError) as caught:
        store.auth.apply(Kind.AUTHENTICATE, body)
    assert errors.AUTH_NOT_ENABLED.matches(caught.value)
    store.enable()
    with pytest.raises(RpcError) as caught:
        store.auth.apply(Kind.AUTHENTICATE, body)
    assert errors.AUTH_FAILED.matches(caught.value)
    store.do(Kind.AUTH_USER_ADD, user_add("u", no_password=True))
    with pytest.raises(RpcError) as caught:
        store.auth.apply(Kind.AUTHENTICATE, body)
    assert errors.AUTH_FAILED.matches(caught.value)


def test_credentials_come_with_the_revision_they_were_read_at(store: Store) -> None:
    with pytest.raises(RpcError) as caught:
        store.auth.credentials("root")
    assert errors.AUTH_NOT_ENABLED.matches(caught.value)
    store.enable()
    found = store.auth.credentials("root")
    assert (found.password_hash, found.revision) == (HASH, store.auth.revision)
    store.do(Kind.AUTH_USER_ADD, user_add("u", no_password=True))
    for name, error in (("u", errors.NO_PASSWORD_USER), ("x", errors.AUTH_FAILED)):
        with pytest.raises(RpcError) as caught:
            store.auth.credentials(name)
        assert error.matches(caught.value)
