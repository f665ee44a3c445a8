"""Users, roles and permissions: the part of the store's state that says who may do what.

Deterministic: every change comes through the log as the client's own request, with the password
already hashed, so that all members hold the same bytes. Kept in three buckets: `auth` (authEnabled,
authRevision), `authUsers` (name to authpb.User) and `authRoles` (name to authpb.Role).

The auth revision grows with every change. A request carries the revision at which its user was
identified; one that is older than the store's is refused, because what it was allowed then may no
longer be.

Semantics: etcd's server/auth/store.go, release 3.6.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from sampan.store.core import errors
from sampan.store.core.backend import Backend
from sampan.store.core.entry import Kind
from sampan.store.core.identity import (
    ANONYMOUS,
    ROOT,
    Credentials,
    Identity,
    NoTokens,
    TokenBook,
)
from sampan.store.core.permission import EVERYTHING, Grants, is_valid_range, merge_grants
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.pb.auth_pb2 import Permission, Role, User

__all__ = ["AUTH_KINDS", "MAX_NAME_BYTES", "AuthStore", "authenticate_body"]

_AUTH: Final = "auth"
_USERS: Final = "authUsers"
_ROLES: Final = "authRoles"
_ENABLED_KEY: Final = b"authEnabled"
_REVISION_KEY: Final = b"authRevision"


MAX_NAME_BYTES: Final = 400
"""The longest user or role name, in UTF-8: it is a key of the backend, and those are short."""


def authenticate_body(user: str, token_prefix: str) -> bytes:
    """Return the body of an AUTHENTICATE entry; `token_prefix` is drawn at random by the shell.

    The password is checked before and is not part of it.
    """
    return token_prefix.encode() + b"\0" + user.encode()


class AuthStore:
    """Users, roles and whether they count; one instance per state machine."""

    def __init__(self, backend: Backend, tokens: TokenBook | None = None) -> None:
        """Load the state from `backend`; `tokens` hears of every change that voids tokens."""
        self._backend = backend
        self._tokens: TokenBook = NoTokens() if tokens is None else tokens
        self._grants: dict[str, Grants] = {}
        self.observer: Callable[[], None] | None = None
        """Called after every change of the auth state, when permissions must be looked at anew."""
        self.enabled = False
        """Whether permissions are checked at all."""
        self.revision = 0
        """The auth revision, at least 1."""
        self.restore()

    def restore(self) -> None:
        """Take the state from the backend, as after a snapshot has replaced it."""
        self._grants.clear()
        self.enabled = self._backend.get(_AUTH, _ENABLED_KEY) == b"\x01"
        self.revision = int.from_bytes(self._backend.get(_AUTH, _REVISION_KEY) or b"", "big")
        if self.enabled:
            self._tokens.enable()
        else:
            self._tokens.disable()
        if self.revision == 0:
            self._bump()

    # -- what others ask

    def grants(self, user: str) -> Grants | None:
        """Return what `user` may do, None when there is no such user."""
        found = self._grants.get(user)
        if found is not None:
            return found
        record = self._user(user)
        if record is None:
            return None
        if ROOT in record.roles:
            grants = EVERYTHING
        else:
            roles = (self._role(name) for name in record.roles)
            grants = merge_grants(p for role in roles if role for p in role.keyPermission)
        self._grants[user] = grants
        return grants

    def credentials(self, user: str) -> Credentials:
        """Return what a password for `user` is compared with.

        Raises AUTH_NOT_ENABLED, AUTH_FAILED for an unknown user, NO_PASSWORD_USER.
        """
        if not self.enabled:
            raise errors.AUTH_NOT_ENABLED()
        record = self._user(user)
        if record is None:
            raise errors.AUTH_FAILED()
        if record.options.no_password:
            raise errors.NO_PASSWORD_USER()
        return Credentials(record.password, self.revision)

    def has_role(self, user: str, role: str) -> bool:
        """Say whether `role` is granted to `user`."""
        record = self._user(user)
        return record is not None and role in record.roles

    def root_identity(self) -> Identity:
        """Return the identity under which the server proposes entries of its own accord."""
        return Identity(ROOT, self.revision) if self.enabled else ANONYMOUS

    def status(self) -> rpc.AuthStatusResponse:
        """Return whether authentication is on, and the auth revision."""
        return rpc.AuthStatusResponse(enabled=self.enabled, authRevision=self.revision)

    def user_get(self, request: rpc.AuthUserGetRequest) -> rpc.AuthUserGetResponse:
        """Return the user's roles. Raises USER_NOT_FOUND."""
        return rpc.AuthUserGetResponse(roles=self._existing_user(request.name).roles)

    def user_list(self) -> rpc.AuthUserListResponse:
        """Return all users' names, sorted."""
        names = [name.decode() for name, _ in self._backend.scan(_USERS)]
        return rpc.AuthUserListResponse(users=names)

    def role_get(self, request: rpc.AuthRoleGetRequest) -> rpc.AuthRoleGetResponse:
        """Return the role's permissions; the root role's is everything. Raises ROLE_NOT_FOUND."""
        role = self._existing_role(request.role)
        if request.role == ROOT:
            whole = Permission(permType=Permission.READWRITE, key=b"", range_end=b"\0")
            return rpc.AuthRoleGetResponse(perm=[whole])
        return rpc.AuthRoleGetResponse(perm=role.keyPermission)

    def role_list(self) -> rpc.AuthRoleListResponse:
        """Return all roles' names, sorted."""
        names = [name.decode() for name, _ in self._backend.scan(_ROLES)]
        return rpc.AuthRoleListResponse(roles=names)

    # -- what the log does

    def apply(self, kind: Kind, body: bytes, index: int = 0) -> Message:
        """Apply one entry of an AUTH kind; `index` is the entry's place in the log.

        Returns the response without its header. Raises the API's error when the request is
        refused, which leaves the state as it was; DecodeError when `body` is no such request.
        """
        if kind is Kind.AUTHENTICATE:
            return self._authenticate(body, index)
        return _APPLY[kind](self, body)

    def _authenticate(self, body: bytes, index: int) -> rpc.AuthenticateResponse:
        prefix, _, name = body.partition(b"\0")
        if not self.enabled:
            raise errors.AUTH_NOT_ENABLED()
        record = self._user(name.decode())
        if record is None or record.options.no_password:
            raise errors.AUTH_FAILED()
        token = f"{prefix.decode()}.{index}"
        self._tokens.assign(name.decode(), token)
        return rpc.AuthenticateResponse(token=token)

    def _enable(self, body: bytes) -> rpc.AuthEnableResponse:
        rpc.AuthEnableRequest.FromString(body)
        if self.enabled:
            return rpc.AuthEnableResponse()
        root = self._user(ROOT)
        if root is None:
            raise errors.ROOT_USER_NOT_EXIST()
        if ROOT not in root.roles:
            raise errors.ROOT_ROLE_NOT_EXIST()
        self.enabled = True
        self._backend.put(_AUTH, _ENABLED_KEY, b"\x01")
        self._tokens.enable()
        # Enabling changes nobody's permissions, so it is not a new revision.
        self._notify()
        return rpc.AuthEnableResponse()

    def _disable(self, body: bytes) -> rpc.AuthDisableResponse:
        rpc.AuthDisableRequest.FromString(body)
        if self.enabled:
            self.enabled = False
            self._backend.put(_AUTH, _ENABLED_KEY, b"\x00")
            self._changed()
            self._tokens.disable()
        return rpc.AuthDisableResponse()

    def _user_add(self, body: bytes) -> rpc.AuthUserAddResponse:
        request = rpc.AuthUserAddRequest.FromString(body)
        if not request.name:
            raise errors.USER_EMPTY()
        _check_length(request.name)
        if self._user(request.name) is not None:
            raise errors.USER_ALREADY_EXIST()
        user = User(name=request.name.encode())
        user.options.CopyFrom(request.options)
        user.options.SetInParent()
        if not request.options.no_password:
            user.password = _stored_password(request.hashedPassword)
        self._put_user(user)
        self._changed()
        return rpc.AuthUserAddResponse()

    def _user_delete(self, body: bytes) -> rpc.AuthUserDeleteResponse:
        request = rpc.AuthUserDeleteRequest.FromString(body)
        if self.enabled and request.name == ROOT:
            raise errors.INVALID_AUTH_MANAGEMENT()
        self._existing_user(request.name)
        self._backend.delete(_USERS, request.name.encode())
        self._changed()
        self._tokens.invalidate_user(request.name)
        return rpc.AuthUserDeleteResponse()

    def _user_change_password(self, body: bytes) -> rpc.AuthUserChangePasswordResponse:
        request = rpc.AuthUserChangePasswordRequest.FromString(body)
        user = self._existing_user(request.name)
        if user.options.no_password:
            user.password = b""
        else:
            user.password = _stored_password(request.hashedPassword)
        self._put_user(user)
        self._changed()
        self._tokens.invalidate_user(request.name)
        return rpc.AuthUserChangePasswordResponse()

    def _user_grant_role(self, body: bytes) -> rpc.AuthUserGrantRoleResponse:
        request = rpc.AuthUserGrantRoleRequest.FromString(body)
        user = self._existing_user(request.user)
        # The root role need not exist: it means everything whether or not it was added.
        if request.role != ROOT:
            self._existing_role(request.role)
        if request.role not in user.roles:
            roles = sorted([*user.roles, request.role])
            del user.roles[:]
            user.roles.extend(roles)
            self._put_user(user)
            self._changed()
        return rpc.AuthUserGrantRoleResponse()

    def _user_revoke_role(self, body: bytes) -> rpc.AuthUserRevokeRoleResponse:
        request = rpc.AuthUserRevokeRoleRequest.FromString(body)
        if self.enabled and request.name == ROOT and request.role == ROOT:
            raise errors.INVALID_AUTH_MANAGEMENT()
        user = self._existing_user(request.name)
        if request.role not in user.roles:
            raise errors.ROLE_NOT_GRANTED()
        user.roles.remove(request.role)
        self._put_user(user)
        self._changed()
        return rpc.AuthUserRevokeRoleResponse()

    def _role_add(self, body: bytes) -> rpc.AuthRoleAddResponse:
        request = rpc.AuthRoleAddRequest.FromString(body)
        if not request.name:
            raise errors.ROLE_EMPTY()
        _check_length(request.name)
        if self._role(request.name) is not None:
            raise errors.ROLE_ALREADY_EXIST()
        self._put_role(Role(name=request.name.encode()))
        self._changed()
        return rpc.AuthRoleAddResponse()

    def _role_delete(self, body: bytes) -> rpc.AuthRoleDeleteResponse:
        request = rpc.AuthRoleDeleteRequest.FromString(body)
        if self.enabled and request.role == ROOT:
            raise errors.INVALID_AUTH_MANAGEMENT()
        self._existing_role(request.role)
        self._backend.delete(_ROLES, request.role.encode())
        for _, raw in list(self._backend.scan(_USERS)):
            user = User.FromString(raw)
            if request.role in user.roles:
                user.roles.remove(request.role)
                self._put_user(user)
        self._changed()
        return rpc.AuthRoleDeleteResponse()

    def _role_grant_permission(self, body: bytes) -> rpc.AuthRoleGrantPermissionResponse:
        request = rpc.AuthRoleGrantPermissionRequest.FromString(body)
        if not request.HasField("perm"):
            raise errors.PERMISSION_NOT_GIVEN()
        perm = request.perm
        if not is_valid_range(perm.key, perm.range_end):
            raise errors.INVALID_AUTH_MANAGEMENT()
        role = self._existing_role(request.name)
        for known in role.keyPermission:
            if _same_range(known, perm):
                known.permType = perm.permType
                break
        else:
            # By key alone, what was granted earlier first: the order clients are shown.
            perms = sorted([*role.keyPermission, perm], key=lambda p: p.key)
            role = Role(name=role.name, keyPermission=perms)
        self._put_role(role)
        self._changed()
        return rpc.AuthRoleGrantPermissionResponse()

    def _role_revoke_permission(self, body: bytes) -> rpc.AuthRoleRevokePermissionResponse:
        request = rpc.AuthRoleRevokePermissionRequest.FromString(body)
        role = self._existing_role(request.role)
        gone = Permission(key=request.key, range_end=request.range_end)
        kept = [p for p in role.keyPermission if not _same_range(p, gone)]
        if len(kept) == len(role.keyPermission):
            raise errors.PERMISSION_NOT_GRANTED()
        self._put_role(Role(name=role.name, keyPermission=kept))
        self._changed()
        return rpc.AuthRoleRevokePermissionResponse()

    # -- records

    def _user(self, name: str) -> User | None:
        raw = self._get(_USERS, name)
        return None if raw is None else User.FromString(raw)

    def _existing_user(self, name: str) -> User:
        user = self._user(name)
        if user is None:
            raise errors.USER_NOT_FOUND()
        return user

    def _put_user(self, user: User) -> None:
        self._backend.put(_USERS, user.name, user.SerializeToString(deterministic=True))

    def _role(self, name: str) -> Role | None:
        raw = self._get(_ROLES, name)
        return None if raw is None else Role.FromString(raw)

    def _existing_role(self, name: str) -> Role:
        role = self._role(name)
        if role is None:
            raise errors.ROLE_NOT_FOUND()
        return role

    def _put_role(self, role: Role) -> None:
        self._backend.put(_ROLES, role.name, role.SerializeToString(deterministic=True))

    def _get(self, bucket: str, name: str) -> bytes | None:
        key = name.encode()
        return self._backend.get(bucket, key) if 0 < len(key) <= MAX_NAME_BYTES else None

    def _bump(self) -> None:
        self.revision += 1
        self._backend.put(_AUTH, _REVISION_KEY, self.revision.to_bytes(8, "big"))

    def _changed(self) -> None:
        self._bump()
        self._notify()

    def _notify(self) -> None:
        self._grants.clear()
        if self.observer is not None:
            self.observer()


_APPLY: Final[dict[Kind, Callable[[AuthStore, bytes], Message]]] = {
    Kind.AUTH_ENABLE: AuthStore._enable,
    Kind.AUTH_DISABLE: AuthStore._disable,
    Kind.AUTH_USER_ADD: AuthStore._user_add,
    Kind.AUTH_USER_DELETE: AuthStore._user_delete,
    Kind.AUTH_USER_CHANGE_PASSWORD: AuthStore._user_change_password,
    Kind.AUTH_USER_GRANT_ROLE: AuthStore._user_grant_role,
    Kind.AUTH_USER_REVOKE_ROLE: AuthStore._user_revoke_role,
    Kind.AUTH_ROLE_ADD: AuthStore._role_add,
    Kind.AUTH_ROLE_DELETE: AuthStore._role_delete,
    Kind.AUTH_ROLE_GRANT_PERMISSION: AuthStore._role_grant_permission,
    Kind.AUTH_ROLE_REVOKE_PERMISSION: AuthStore._role_revoke_permission,
}

AUTH_KINDS: Final = frozenset((Kind.AUTHENTICATE, *_APPLY))
"""The kinds of entry that `AuthStore.apply` takes."""


def _check_length(name: str) -> None:
    if len(name.encode()) > MAX_NAME_BYTES:
        raise errors.NAME_TOO_LONG()


def _same_range(one: Permission, other: Permission) -> bool:
    return one.key == other.key and one.range_end == other.range_end


def _stored_password(hashed: str) -> bytes:
    """Return the bytes of a hash that travels as base64; one that is not base64 is refused."""
    try:
        return b64decode(hashed, validate=True)
    except (Base64Error, ValueError):
        raise errors.NO_PASSWORD_USER() from None
