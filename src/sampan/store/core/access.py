"""Which request needs which permission: checked when a request arrives, and again when it applies.

Every check does nothing while authentication is off. While it is on, a request without a user is
USER_EMPTY, one whose user was identified before the last change of the auth state is
AUTH_OLD_REVISION, and what the user's roles do not allow is PERMISSION_DENIED.

Leases belong to nobody: granting one takes any known user, but to attach a key to a lease, to renew
or to revoke it takes the right to write all keys attached to it, and to list them that to read the
keys of all.

Semantics: etcd's server/etcdserver/apply/apply_auth.go and txn checks, release 3.6, with the fixes
for its advisories (nested transactions, previous values and leases inside transactions,
unauthenticated lease, alarm, member list and compaction calls).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from google.protobuf.message import Message

from sampan.store.core import errors
from sampan.store.core.auth import AUTH_KINDS, AuthStore
from sampan.store.core.entry import Kind
from sampan.store.core.identity import ANONYMOUS, Identity
from sampan.store.core.permission import Grants
from sampan.store.pb import rpc_pb2 as rpc

__all__ = ["Access"]

_ADMIN_KINDS: Final = AUTH_KINDS - {Kind.AUTHENTICATE}
_CHECKED_KINDS: Final = _ADMIN_KINDS | {
    Kind.PUT,
    Kind.DELETE_RANGE,
    Kind.TXN,
    Kind.LEASE_REVOKE,
}


class Access:
    """The gate in front of a state machine. Identities of None count as anonymous."""

    def __init__(self, auth: AuthStore, lease_keys: Callable[[int], Iterable[bytes]]) -> None:
        """Guard by `auth`; `lease_keys` names the keys attached to a lease, none if unknown."""
        self._auth = auth
        self._lease_keys = lease_keys

    # -- entries of the log

    def check_entry(self, kind: Kind, request: Message | None, user: str, auth_rev: int) -> None:
        """Check an entry as it is applied; `request` is its decoded body, if it was decoded.

        Only PUT, DELETE_RANGE, TXN and LEASE_REVOKE need `request`. Kinds that the server proposes
        itself without a user (compaction, alarms, checkpoints, member attributes) pass: for
        clients the API has checked them.
        """
        if not self._auth.enabled or kind not in _CHECKED_KINDS:
            return
        identity = Identity(user, auth_rev)
        if kind in _ADMIN_KINDS:
            self.check_admin(identity)
        elif isinstance(request, rpc.PutRequest):
            self.check_put(identity, request)
        elif isinstance(request, rpc.TxnRequest):
            self.check_txn(identity, request)
        elif isinstance(request, rpc.DeleteRangeRequest):
            self.check_delete_range(identity, request)
        elif isinstance(request, rpc.LeaseRevokeRequest):
            self.check_lease_revoke(identity, request.ID)
        else:
            # Better refused than let through: an entry whose request nobody looked at.
            raise errors.PERMISSION_DENIED()

    # -- keys

    def check_range(self, identity: Identity | None, key: bytes, range_end: bytes = b"") -> None:
        """Check reading a range, watching it included."""
        if self._auth.enabled and not self._grants(identity).may_read(key, range_end):
            raise errors.PERMISSION_DENIED()

    def check_write(self, identity: Identity | None, key: bytes, range_end: bytes = b"") -> None:
        """Check writing or deleting a range."""
        if self._auth.enabled and not self._grants(identity).may_write(key, range_end):
            raise errors.PERMISSION_DENIED()

    def may_still_read(self, identity: Identity | None, key: bytes, range_end: bytes) -> bool:
        """Say whether a watch that once was permitted still is, whatever changed since."""
        if not self._auth.enabled:
            return True
        grants = self._auth.grants(identity.user) if identity is not None else None
        return grants is not None and grants.may_read(key, range_end)

    def check_put(self, identity: Identity | None, request: rpc.PutRequest) -> None:
        """Check a put: the key, the keys that share its lease, the previous value if asked for."""
        if not self._auth.enabled:
            return
        self.check_write(identity, request.key)
        self._check_lease_keys(identity, request.lease)
        if request.prev_kv:
            self.check_range(identity, request.key)

    def check_delete_range(
        self, identity: Identity | None, request: rpc.DeleteRangeRequest
    ) -> None:
        """Check a deletion, and reading what is deleted if it is asked for."""
        self.check_write(identity, request.key, request.range_end)
        if request.prev_kv:
            self.check_range(identity, request.key, request.range_end)

    def check_txn(self, identity: Identity | None, request: rpc.TxnRequest) -> None:
        """Check all comparisons and both branches, to any depth, whichever will be taken."""
        if not self._auth.enabled:
            return
        self._grants(identity)
        pending = [request]
        while pending:
            txn = pending.pop()
            for compare in txn.compare:
                self.check_range(identity, compare.key, compare.range_end)
            for branch in (txn.success, txn.failure):
                for op in branch:
                    if op.WhichOneof("request") == "request_txn":
                        pending.append(op.request_txn)
                    else:
                        self._check_op(identity, op)

    def _check_op(self, identity: Identity | None, op: rpc.RequestOp) -> None:
        which = op.WhichOneof("request")
        if which == "request_range":
            self.check_range(identity, op.request_range.key, op.request_range.range_end)
        elif which == "request_put":
            self.check_put(identity, op.request_put)
        elif which == "request_delete_range":
            self.check_delete_range(identity, op.request_delete_range)

    # -- leases

    def check_lease_revoke(self, identity: Identity | None, lease_id: int) -> None:
        """Check revoking a lease, which deletes the keys attached to it."""
        if self._auth.enabled:
            self.check_authenticated(identity)
            self._check_lease_keys(identity, lease_id)

    def check_lease_renew(self, identity: Identity | None, lease_id: int) -> None:
        """Check keeping a lease alive, which keeps the keys attached to it."""
        self.check_lease_revoke(identity, lease_id)

    def check_leases(self, identity: Identity | None, lease_ids: Iterable[int]) -> None:
        """Check listing the leases, which takes the right to read the keys of them all."""
        if self._auth.enabled:
            self.check_authenticated(identity)
            if not self._is_admin(identity):
                for lease_id in lease_ids:
                    self.check_lease_time_to_live(identity, lease_id)

    def check_lease_time_to_live(self, identity: Identity | None, lease_id: int) -> None:
        """Check asking for a lease's keys, which takes the right to read them all."""
        if self._auth.enabled:
            self.check_authenticated(identity)
            for key in self._lease_keys(lease_id):
                self.check_range(identity, key)

    def _check_lease_keys(self, identity: Identity | None, lease_id: int) -> None:
        if lease_id == 0 or self._is_admin(identity):
            return
        for key in self._lease_keys(lease_id):
            self.check_write(identity, key)

    # -- the server itself

    def check_authenticated(self, identity: Identity | None) -> None:
        """Check that the request comes from some existing user. Raises USER_EMPTY or denies."""
        if not self._auth.enabled:
            return
        if identity is None or not identity.user:
            raise errors.USER_EMPTY()
        if self._auth.grants(identity.user) is None:
            raise errors.PERMISSION_DENIED()

    def check_admin(self, identity: Identity | None) -> None:
        """Check for the root role. Raises USER_EMPTY, USER_NOT_FOUND or PERMISSION_DENIED.

        The auth revision does not count: administrators change it themselves with every call.
        """
        if not self._auth.enabled:
            return
        if identity is None or not identity.user:
            raise errors.USER_EMPTY()
        grants = self._auth.grants(identity.user)
        if grants is None:
            raise errors.USER_NOT_FOUND()
        if not grants.root:
            raise errors.PERMISSION_DENIED()

    def check_user_get(self, identity: Identity | None, user: str) -> None:
        """Check reading a user's roles: an administrator's right, or the user's own."""
        if self._auth.enabled and (identity is None or identity.user != user):
            self.check_admin(identity)

    def check_role_get(self, identity: Identity | None, role: str) -> None:
        """Check reading a role's permissions: an administrator's right, or its holder's."""
        if not self._auth.enabled:
            return
        if identity is None or not self._auth.has_role(identity.user, role):
            self.check_admin(identity)

    def _is_admin(self, identity: Identity | None) -> bool:
        grants = self._auth.grants(identity.user) if identity is not None else None
        return grants is not None and grants.root

    def _grants(self, identity: Identity | None) -> Grants:
        """Return the user's permissions on keys as of the identity's auth revision."""
        who = identity or ANONYMOUS
        if who.revision == 0:
            raise errors.USER_EMPTY()
        if who.revision < self._auth.revision:
            raise errors.AUTH_OLD_REVISION()
        grants = self._auth.grants(who.user)
        if grants is None:
            raise errors.PERMISSION_DENIED()
        return grants
