"""Which request needs which permission."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from google.protobuf.message import Message
from tests.store.buckets import Buckets

from sampan.store.core import errors
from sampan.store.core.access import Access
from sampan.store.core.auth import AuthStore
from sampan.store.core.entry import Kind
from sampan.store.core.errors import StoreError
from sampan.store.core.identity import Identity
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.pb.auth_pb2 import Permission
from sampan.wire.grpc.status import RpcError


class Gate:
    """User `u` may read and write [a, c), read r, write w; `root` everything; lease 7 has keys."""

    def __init__(self) -> None:
        self.auth = AuthStore(Buckets())
        self.lease_keys: dict[int, list[bytes]] = {}
        self.access = Access(self.auth, self._keys_of)
        self._do(Kind.AUTH_USER_ADD, rpc.AuthUserAddRequest(name="root"))
        self._do(Kind.AUTH_USER_ADD, rpc.AuthUserAddRequest(name="u"))
        self._do(Kind.AUTH_ROLE_ADD, rpc.AuthRoleAddRequest(name="r"))
        self._do(Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user="u", role="r"))
        self._do(Kind.AUTH_USER_GRANT_ROLE, rpc.AuthUserGrantRoleRequest(user="root", role="root"))
        for kind, key, end in (
            (Permission.READWRITE, b"a", b"c"),
            (Permission.READ, b"r", b""),
            (Permission.WRITE, b"w", b""),
        ):
            perm = Permission(permType=kind, key=key, range_end=end)
            self._do(
                Kind.AUTH_ROLE_GRANT_PERMISSION,
                rpc.AuthRoleGrantPermissionRequest(name="r", perm=perm),
            )
        self._do(Kind.AUTH_ENABLE, rpc.AuthEnableRequest())

    def _do(self, kind: Kind, request: Message) -> None:
        self.auth.apply(kind, request.SerializeToString())

    def _keys_of(self, lease_id: int) -> Iterable[bytes]:
        return self.lease_keys.get(lease_id, [])

    @property
    def user(self) -> Identity:
        return Identity("u", self.auth.revision)

    @property
    def root(self) -> Identity:
        return Identity("root", self.auth.revision)

    def disable(self) -> None:
        self._do(Kind.AUTH_DISABLE, rpc.AuthDisableRequest())

    def change(self) -> None:
        self._do(Kind.AUTH_ROLE_ADD, rpc.AuthRoleAddRequest(name=f"r{self.auth.revision}"))


def denied(error: StoreError, check: Callable[..., None], *arguments: object) -> None:
    with pytest.raises(RpcError) as caught:
        check(*arguments)
    assert error.matches(caught.value), caught.value


@pytest.fixture
def gate() -> Gate:
    return Gate()


def put(key: bytes, *, prev_kv: bool = False, lease: int = 0) -> rpc.PutRequest:
    return rpc.PutRequest(key=key, value=b"v", prev_kv=prev_kv, lease=lease)


def txn(*ops: rpc.RequestOp, compare: bytes = b"") -> rpc.TxnRequest:
    compares = [rpc.Compare(key=compare)] if compare else []
    return rpc.TxnRequest(compare=compares, success=ops)


def test_reading_and_writing(gate: Gate) -> None:
    access = gate.access
    access.check_range(gate.user, b"a", b"c")
    access.check_put(gate.user, put(b"w"))
    denied(errors.PERMISSION_DENIED, access.check_range, gate.user, b"a", b"d")
    denied(errors.PERMISSION_DENIED, access.check_range, gate.user, b"a", b"\0")
    denied(errors.PERMISSION_DENIED, access.check_put, gate.user, put(b"r"))
    access.check_range(gate.root, b"\0", b"\0")
    access.check_put(gate.root, put(b"zzz"))


def test_previous_values_need_reading(gate: Gate) -> None:
    denied(errors.PERMISSION_DENIED, gate.access.check_put, gate.user, put(b"w", prev_kv=True))
    gate.access.check_put(gate.user, put(b"a", prev_kv=True))
    delete = rpc.DeleteRangeRequest(key=b"w")
    gate.access.check_delete_range(gate.user, delete)
    delete.prev_kv = True
    denied(errors.PERMISSION_DENIED, gate.access.check_delete_range, gate.user, delete)


def test_no_user_old_revision_unknown_user(gate: Gate) -> None:
    check = gate.access.check_range
    denied(errors.USER_EMPTY, check, None, b"a")
    stale = gate.user
    gate.change()
    denied(errors.AUTH_OLD_REVISION, check, stale, b"a")
    denied(errors.PERMISSION_DENIED, check, Identity("x", gate.auth.revision), b"a")


def test_nothing_is_checked_while_off(gate: Gate) -> None:
    gate.disable()
    gate.access.check_range(None, b"z")
    gate.access.check_put(None, put(b"z", prev_kv=True, lease=7))
    gate.access.check_txn(None, txn(rpc.RequestOp(request_put=put(b"z"))))
    gate.access.check_admin(None)
    gate.access.check_authenticated(None)
    gate.access.check_entry(Kind.AUTH_USER_ADD, None, "", 0)


# -- transactions


def test_both_branches_and_comparisons_are_checked(gate: Gate) -> None:
    forbidden = rpc.RequestOp(request_put=put(b"z"))
    allowed = rpc.RequestOp(request_put=put(b"a"))
    check = gate.access.check_txn
    check(gate.user, txn(allowed, compare=b"r"))
    denied(errors.PERMISSION_DENIED, check, gate.user, txn(allowed, compare=b"w"))
    denied(errors.PERMISSION_DENIED, check, gate.user, rpc.TxnRequest(failure=[forbidden]))
    denied(errors.PERMISSION_DENIED, check, gate.user, rpc.TxnRequest(success=[forbidden]))
    denied(errors.USER_EMPTY, check, None, txn())


@pytest.mark.parametrize(
    "op",
    [
        rpc.RequestOp(request_range=rpc.RangeRequest(key=b"w")),
        rpc.RequestOp(request_put=put(b"w", prev_kv=True)),
        rpc.RequestOp(request_put=put(b"a", lease=7)),
        rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"w", prev_kv=True)),
        rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"r")),
    ],
)
def test_nesting_hides_nothing(gate: Gate, op: rpc.RequestOp) -> None:
    gate.lease_keys[7] = [b"z"]
    request = txn(op)
    for _ in range(3):
        denied(errors.PERMISSION_DENIED, gate.access.check_txn, gate.user, request)
        request = rpc.TxnRequest(failure=[rpc.RequestOp(request_txn=request)])


# -- leases


def test_a_lease_is_as_protected_as_its_keys(gate: Gate) -> None:
    gate.lease_keys[7] = [b"a", b"z"]
    access = gate.access
    denied(errors.PERMISSION_DENIED, access.check_put, gate.user, put(b"a", lease=7))
    denied(errors.PERMISSION_DENIED, access.check_lease_revoke, gate.user, 7)
    denied(errors.PERMISSION_DENIED, access.check_lease_time_to_live, gate.user, 7)
    access.check_lease_revoke(gate.root, 7)
    gate.lease_keys[7] = [b"a"]
    access.check_put(gate.user, put(b"a", lease=7))
    access.check_lease_revoke(gate.user, 7)
    access.check_lease_time_to_live(gate.user, 7)


def test_leases_need_some_user(gate: Gate) -> None:
    denied(errors.USER_EMPTY, gate.access.check_lease_revoke, None, 7)
    denied(errors.USER_EMPTY, gate.access.check_authenticated, None)
    denied(errors.PERMISSION_DENIED, gate.access.check_authenticated, Identity("x", 9))
    gate.access.check_authenticated(gate.user)


def test_the_servers_own_revocations_survive_a_change_of_users(gate: Gate) -> None:
    gate.lease_keys[7] = [b"a", b"z"]
    own = gate.auth.root_identity()
    gate.change()
    request = rpc.LeaseRevokeRequest(ID=7)
    gate.access.check_entry(Kind.LEASE_REVOKE, request, own.user, own.revision)


# -- administration


def test_administration_needs_the_root_role(gate: Gate) -> None:
    check = gate.access.check_admin
    check(gate.root)
    denied(errors.USER_EMPTY, check, None)
    denied(errors.USER_NOT_FOUND, check, Identity("x", 9))
    denied(errors.PERMISSION_DENIED, check, gate.user)
    stale = gate.root
    gate.change()
    check(stale)


def test_users_may_look_at_themselves(gate: Gate) -> None:
    gate.access.check_user_get(gate.user, "u")
    denied(errors.PERMISSION_DENIED, gate.access.check_user_get, gate.user, "root")
    denied(errors.USER_EMPTY, gate.access.check_user_get, None, "u")
    gate.access.check_role_get(gate.user, "r")
    denied(errors.PERMISSION_DENIED, gate.access.check_role_get, gate.user, "root")
    gate.access.check_role_get(gate.root, "r")


# -- entries of the log


def test_entries_are_checked_again(gate: Gate) -> None:
    revision = gate.auth.revision
    check = gate.access.check_entry
    check(Kind.PUT, put(b"a"), "u", revision)
    denied(errors.PERMISSION_DENIED, check, Kind.PUT, put(b"z"), "u", revision)
    denied(errors.USER_EMPTY, check, Kind.PUT, put(b"a"), "", 0)
    denied(errors.PERMISSION_DENIED, check, Kind.AUTH_DISABLE, None, "u", revision)
    check(Kind.AUTH_DISABLE, None, "root", revision)
    check(Kind.AUTHENTICATE, None, "", 0)
    check(Kind.COMPACT, None, "", 0)
    gate.change()
    denied(errors.AUTH_OLD_REVISION, check, Kind.PUT, put(b"a"), "u", revision)
    denied(errors.AUTH_OLD_REVISION, check, Kind.TXN, txn(), "u", revision)
    delete = rpc.DeleteRangeRequest(key=b"a")
    denied(errors.AUTH_OLD_REVISION, check, Kind.DELETE_RANGE, delete, "u", revision)


def test_an_entry_nobody_decoded_is_refused(gate: Gate) -> None:
    denied(
        errors.PERMISSION_DENIED,
        gate.access.check_entry,
        Kind.PUT,
        None,
        "root",
        gate.auth.revision,
    )


# -- watches


def test_a_watch_ends_with_its_permission(gate: Gate) -> None:
    user = gate.user
    assert gate.access.may_still_read(user, b"a", b"c")
    gate.change()
    assert gate.access.may_still_read(user, b"a", b"c")
    gate.auth.apply(
        Kind.AUTH_USER_REVOKE_ROLE,
        rpc.AuthUserRevokeRoleRequest(name="u", role="r").SerializeToString(),
    )
    assert not gate.access.may_still_read(user, b"a", b"c")
    assert not gate.access.may_still_read(None, b"a", b"c")
    gate.disable()
    assert gate.access.may_still_read(None, b"a", b"c")
