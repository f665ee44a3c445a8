"""The Auth service: users, roles, permissions, and passwords turned into tokens.

What changes the auth state goes through the log, with passwords hashed before; what only looks at
it is answered from local state behind a read barrier.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.message import Message

from sampan.store.api.service import Context, parse
from sampan.store.core import errors
from sampan.store.core.auth import authenticate_body
from sampan.store.core.entry import Kind
from sampan.store.pb import rpc_pb2 as pb
from sampan.wire.grpc.service import MethodTable, UnaryCall, UnaryMethod

__all__ = ["methods"]

_SERVICE: Final = "/etcdserverpb.Auth/"

# Writes whose request goes into the log as it came.
_PLAIN_WRITES: Final[dict[str, tuple[Kind, type[Message]]]] = {
    "AuthEnable": (Kind.AUTH_ENABLE, pb.AuthEnableRequest),
    "AuthDisable": (Kind.AUTH_DISABLE, pb.AuthDisableRequest),
    "UserDelete": (Kind.AUTH_USER_DELETE, pb.AuthUserDeleteRequest),
    "UserGrantRole": (Kind.AUTH_USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest),
    "UserRevokeRole": (Kind.AUTH_USER_REVOKE_ROLE, pb.AuthUserRevokeRoleRequest),
    "RoleAdd": (Kind.AUTH_ROLE_ADD, pb.AuthRoleAddRequest),
    "RoleDelete": (Kind.AUTH_ROLE_DELETE, pb.AuthRoleDeleteRequest),
    "RoleGrantPermission": (
        Kind.AUTH_ROLE_GRANT_PERMISSION,
        pb.AuthRoleGrantPermissionRequest,
    ),
    "RoleRevokePermission": (
        Kind.AUTH_ROLE_REVOKE_PERMISSION,
        pb.AuthRoleRevokePermissionRequest,
    ),
}


class _Auth:
    """The handlers that do more than pass a request on."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._auth = context.state.auth
        self._access = context.state.access
        self._passwords = context.authenticator.passwords
        self._tokens = context.authenticator.tokens

    def plain_write(self, kind: Kind, message_type: type[Message]) -> UnaryMethod:
        """Make the method that proposes its request as it came."""

        def handler(call: UnaryCall, body: bytes) -> None:
            parse(message_type, body)
            self._context.propose(kind, body, call, identity=self._context.authorize(call))

        return UnaryMethod(handler)

    async def authenticate(self, call: UnaryCall, body: bytes) -> bytes:
        """Answer a token for a name and its password.

        Checking takes long; a change of the auth state meanwhile makes it start again, so that no
        token is given for a password that has just been replaced.
        """
        request = parse(pb.AuthenticateRequest, body)
        await self._context.read_barrier()
        while True:
            known = self._auth.credentials(request.name)
            if not await self._passwords.matches(known.password_hash, request.password):
                raise errors.AUTH_FAILED()
            response = await self._token(request.name)
            if self._auth.revision == known.revision:
                return response

    async def _token(self, user: str) -> bytes:
        if self._tokens.logged:
            body = authenticate_body(user, self._tokens.draw_prefix())
            return await self._context.execute(Kind.AUTHENTICATE, body)
        token = self._tokens.sign(user, self._auth.revision)
        return _answer(self._context, pb.AuthenticateResponse(token=token))

    async def user_add(self, call: UnaryCall, body: bytes) -> bytes:
        """Add a user; the log gets the hash of the password in place of the password."""
        request = parse(pb.AuthUserAddRequest, body)
        identity = self._context.authorize(call)
        # Before the hashing, which not everybody may make the server do.
        self._access.check_admin(identity)
        if not request.options.no_password:
            request.hashedPassword = await self._hash(request.password)
        request.password = ""
        body = request.SerializeToString()
        return await self._context.execute(Kind.AUTH_USER_ADD, body, identity)

    async def user_change_password(self, call: UnaryCall, body: bytes) -> bytes:
        """Change a password; an empty one leaves the user without any that matches."""
        request = parse(pb.AuthUserChangePasswordRequest, body)
        identity = self._context.authorize(call)
        self._access.check_admin(identity)
        if request.password:
            request.hashedPassword = await self._hash(request.password)
        request.password = ""
        body = request.SerializeToString()
        return await self._context.execute(Kind.AUTH_USER_CHANGE_PASSWORD, body, identity)

    async def _hash(self, password: str) -> str:
        return b64encode(await self._passwords.hash(password)).decode()

    async def status(self, call: UnaryCall, body: bytes) -> bytes:
        """Tell whether authentication is on."""
        parse(pb.AuthStatusRequest, body)
        await self._context.read_barrier()
        self._access.check_admin(self._context.authorize(call))
        return _answer(self._context, self._auth.status())

    async def user_get(self, call: UnaryCall, body: bytes) -> bytes:
        """Tell the roles of a user."""
        request = parse(pb.AuthUserGetRequest, body)
        await self._context.read_barrier()
        self._access.check_user_get(self._context.authorize(call), request.name)
        return _answer(self._context, self._auth.user_get(request))

    async def user_list(self, call: UnaryCall, body: bytes) -> bytes:
        """Tell all users."""
        parse(pb.AuthUserListRequest, body)
        await self._context.read_barrier()
        self._access.check_admin(self._context.authorize(call))
        return _answer(self._context, self._auth.user_list())

    async def role_get(self, call: UnaryCall, body: bytes) -> bytes:
        """Tell the permissions of a role."""
        request = parse(pb.AuthRoleGetRequest, body)
        await self._context.read_barrier()
        self._access.check_role_get(self._context.authorize(call), request.role)
        return _answer(self._context, self._auth.role_get(request))

    async def role_list(self, call: UnaryCall, body: bytes) -> bytes:
        """Tell all roles."""
        parse(pb.AuthRoleListRequest, body)
        await self._context.read_barrier()
        self._access.check_admin(self._context.authorize(call))
        return _answer(self._context, self._auth.role_list())


_Read = (
    pb.AuthenticateResponse
    | pb.AuthStatusResponse
    | pb.AuthUserGetResponse
    | pb.AuthUserListResponse
    | pb.AuthRoleGetResponse
    | pb.AuthRoleListResponse
)


def _answer(context: Context, response: _Read) -> bytes:
    response.header.CopyFrom(context.header())
    return response.SerializeToString()


def methods(context: Context) -> MethodTable:
    """Return the service's methods by full name."""
    auth = _Auth(context)
    coroutines: dict[str, Callable[[UnaryCall, bytes], Awaitable[bytes]]] = {
        "Authenticate": auth.authenticate,
        "AuthStatus": auth.status,
        "UserAdd": auth.user_add,
        "UserChangePassword": auth.user_change_password,
        "UserGet": auth.user_get,
        "UserList": auth.user_list,
        "RoleGet": auth.role_get,
        "RoleList": auth.role_list,
    }
    table = {_SERVICE + name: context.unary(handler) for name, handler in coroutines.items()}
    for name, (kind, message_type) in _PLAIN_WRITES.items():
        table[_SERVICE + name] = auth.plain_write(kind, message_type)
    return table
