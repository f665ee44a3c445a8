"""The Auth service as a client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest
from google.protobuf.message import Message
from tests.store.served import Member, Now, with_member

from sampan.store.core import entry, errors
from sampan.store.core.entry import Kind
from sampan.store.core.errors import StoreError
from sampan.store.pb import rpc_pb2 as rpc
from sampan.store.pb.auth_pb2 import Permission
from sampan.store.shell.jwt_tokens import JwtTokens
from sampan.wire.grpc.status import Code, RpcError


async def refused(error: StoreError, answer: Awaitable[object]) -> None:
    with pytest.raises(RpcError) as caught:
        await answer
    assert error.matches(caught.value), caught.value


def test_the_way_from_nothing_to_a_restricted_user() -> None:
    async def check(member: Member) -> None:
        await member.ask("Auth/RoleAdd", rpc.AuthRoleAddRequest(name="r"), rpc.AuthRoleAddResponse)
        perm = Permission(permType=Permission.READ, key=b"k", range_end=b"l")
        await member.ask(
            "Auth/RoleGrantPermission",
            rpc.AuthRoleGrantPermissionRequest(name="r", perm=perm),
            rpc.AuthRoleGrantPermissionResponse,
        )
        await member.add_user("u", "upw", "r")
        await member.enable_auth()
        status = await member.ask(
            "Auth/AuthStatus", rpc.AuthStatusRequest(), rpc.AuthStatusResponse
        )
        assert status.enabled
        assert status.authRevision == member.auth.revision
        assert status.header.member_id == 0xABC
        await member.login("u", "upw")
        identity = member.authenticator.tokens.lookup(member.token, member.auth.revision)
        assert identity is not None and identity.user == "u"
        member.state.access.check_range(identity, b"k1")
        own = await member.ask(
            "Auth/UserGet", rpc.AuthUserGetRequest(name="u"), rpc.AuthUserGetResponse
        )
        assert list(own.roles) == ["r"]
        role = await member.ask(
            "Auth/RoleGet", rpc.AuthRoleGetRequest(role="r"), rpc.AuthRoleGetResponse
        )
        assert [p.key for p in role.perm] == [b"k"]

    with_member(check)


def test_lists_are_for_administrators() -> None:
    async def check(member: Member) -> None:
        await member.ask("Auth/RoleAdd", rpc.AuthRoleAddRequest(name="r"), rpc.AuthRoleAddResponse)
        await member.add_user("u", "upw")
        await member.enable_auth()
        users = await member.ask(
            "Auth/UserList", rpc.AuthUserListRequest(), rpc.AuthUserListResponse
        )
        assert list(users.users) == ["root", "u"]
        roles = await member.ask(
            "Auth/RoleList", rpc.AuthRoleListRequest(), rpc.AuthRoleListResponse
        )
        assert list(roles.roles) == ["r"]
        await member.login("u", "upw")
        for method in ("Auth/UserList", "Auth/RoleList", "Auth/AuthStatus"):
            await refused(errors.PERMISSION_DENIED, member.raw(method, b""))
        await refused(
            errors.PERMISSION_DENIED,
            member.raw("Auth/RoleGet", rpc.AuthRoleGetRequest(role="r").SerializeToString()),
        )

    with_member(check)


WRITES: list[tuple[str, Message]] = [
    ("AuthEnable", rpc.AuthEnableRequest()),
    ("AuthDisable", rpc.AuthDisableRequest()),
    ("UserAdd", rpc.AuthUserAddRequest(name="x", password="p")),
    ("UserDelete", rpc.AuthUserDeleteRequest(name="u")),
    ("UserChangePassword", rpc.AuthUserChangePasswordRequest(name="root", password="p")),
    ("UserGrantRole", rpc.AuthUserGrantRoleRequest(user="u", role="root")),
    ("UserRevokeRole", rpc.AuthUserRevokeRoleRequest(name="root", role="root")),
    ("RoleAdd", rpc.AuthRoleAddRequest(name="x")),
    ("RoleDelete", rpc.AuthRoleDeleteRequest(role="r")),
    ("RoleGrantPermission", rpc.AuthRoleGrantPermissionRequest(name="r")),
    ("RoleRevokePermission", rpc.AuthRoleRevokePermissionRequest(role="r", key=b"k")),
]


@pytest.mark.parametrize(("method", "request_"), WRITES, ids=[name for name, _ in WRITES])
def test_changes_are_for_administrators(method: str, request_: Message) -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "upw")
        await member.enable_auth()
        before = dict(member.backend.buckets)
        body = request_.SerializeToString()
        member.token = ""
        await refused(errors.USER_EMPTY, member.raw(f"Auth/{method}", body))
        await member.login("u", "upw")
        await refused(errors.PERMISSION_DENIED, member.raw(f"Auth/{method}", body))
        assert member.backend.buckets == before

    with_member(check)


def test_a_password_is_never_in_the_log() -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "first-secret")
        await member.enable_auth()
        change = rpc.AuthUserChangePasswordRequest(name="u", password="second-secret")
        await member.ask("Auth/UserChangePassword", change, rpc.AuthUserChangePasswordResponse)
        await member.login("u", "second-secret")
        log = b"".join(member.log.entries)
        for secret in (b"first-secret", b"second-secret", b"rootpw"):
            assert secret not in log

    with_member(check)


def test_wrong_passwords_and_unknown_users_fail_alike() -> None:
    async def check(member: Member) -> None:
        await refused(errors.AUTH_NOT_ENABLED, member.login("root", "rootpw"))
        await member.enable_auth()
        await member.add_user("nopw")
        await refused(errors.AUTH_FAILED, member.login("root", "wrong"))
        await refused(errors.AUTH_FAILED, member.login("nobody", "rootpw"))
        await refused(errors.NO_PASSWORD_USER, member.login("nopw", ""))

    with_member(check)


def test_a_new_password_ends_the_old_token_and_the_old_password() -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "old")
        await member.enable_auth()
        root = member.token
        token = await member.login("u", "old")
        member.token = root
        change = rpc.AuthUserChangePasswordRequest(name="u", password="new")
        await member.ask("Auth/UserChangePassword", change, rpc.AuthUserChangePasswordResponse)
        member.token = token
        await refused(errors.INVALID_AUTH_TOKEN, member.raw("Auth/AuthStatus", b""))
        await refused(errors.AUTH_FAILED, member.login("u", "old"))
        await member.login("u", "new")

    with_member(check)


def test_an_empty_new_password_matches_nothing() -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "old")
        await member.enable_auth()
        change = rpc.AuthUserChangePasswordRequest(name="u")
        await member.ask("Auth/UserChangePassword", change, rpc.AuthUserChangePasswordResponse)
        await refused(errors.AUTH_FAILED, member.login("u", ""))
        await refused(errors.AUTH_FAILED, member.login("u", "old"))

    with_member(check)


def test_a_password_replaced_while_it_is_checked_gives_no_token() -> None:
    async def check(member: Member) -> None:
        await member.add_user("u", "old")
        await member.enable_auth()
        matches = member.authenticator.passwords.matches
        raced = False

        async def slow(password_hash: bytes, password: str) -> bool:
            nonlocal raced
            found = await matches(password_hash, password)
            if not raced:
                raced = True
                request = rpc.AuthUserChangePasswordRequest(name="u", hashedPassword="bmV3")
                identity = member.auth.root_identity()
                body = request.SerializeToString()
                await member.context.execute(Kind.AUTH_USER_CHANGE_PASSWORD, body, identity)
            return found

        member.authenticator.passwords.matches = slow  # type: ignore[method-assign]
        await refused(errors.AUTH_FAILED, member.login("u", "old"))

    with_member(check)


def test_switching_off_ends_all_tokens_and_checks() -> None:
    async def check(member: Member) -> None:
        await member.enable_auth()
        token = member.token
        await member.ask("Auth/AuthDisable", rpc.AuthDisableRequest(), rpc.AuthDisableResponse)
        member.token = ""
        await member.raw("Auth/UserList", b"")
        # A token nobody knows any more does no harm while nobody is asked.
        member.token = token
        await member.raw("Auth/UserList", b"")
        member.token = ""
        await member.ask("Auth/AuthEnable", rpc.AuthEnableRequest(), rpc.AuthEnableResponse)
        member.token = token
        await refused(errors.INVALID_AUTH_TOKEN, member.raw("Auth/UserList", b""))

    with_member(check)


def test_simple_tokens_name_their_entry_in_the_log() -> None:
    async def check(member: Member) -> None:
        await member.enable_auth()
        prefix, _, index = member.token.partition(".")
        assert len(prefix) == 16
        kind = entry.decode(member.log.entries[int(index) - 1]).kind
        assert kind is Kind.AUTHENTICATE

    with_member(check)


def test_signed_tokens_need_no_log(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a shared secret that is long enough for HS256")

    async def check() -> None:
        clock = Now()
        tokens = JwtTokens(
            clock, "HS256", private_key_file=str(secret), public_key_file="", ttl_s=60
        )
        member = Member(tokens)
        await member.enable_auth()
        written = member.log.last_index
        await member.login("root", "rootpw")
        assert member.log.last_index == written
        await member.raw("Auth/UserList", b"")
        clock.now_s += 61
        await refused(errors.INVALID_AUTH_TOKEN, member.raw("Auth/UserList", b""))
        await member.close()

    asyncio.run(check())


def test_garbage_is_refused_before_the_log() -> None:
    async def check(member: Member) -> None:
        for name in (name for name in member.methods if name.startswith("/etcdserverpb.Auth/")):
            method = name.removeprefix("/etcdserverpb.")
            with pytest.raises(RpcError) as caught:
                await member.raw(method, b"\xff\xff")
            assert caught.value.code is Code.INTERNAL
        assert member.log.last_index == 0

    with_member(check)


def test_all_seventeen_methods_are_there() -> None:
    async def check(member: Member) -> None:
        service = rpc.DESCRIPTOR.services_by_name["Auth"]
        names = {f"/etcdserverpb.Auth/{method.name}" for method in service.methods}
        assert len(names) == 17
        assert names == {name for name in member.methods if ".Auth/" in name}

    with_member(check)
