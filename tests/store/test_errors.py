"""The error list is protocol: codes and strings that clients compare."""

from __future__ import annotations

import pytest

from sampan.store.core import errors
from sampan.wire.grpc.status import Code, RpcError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (errors.EMPTY_KEY, Code.INVALID_ARGUMENT, "etcdserver: key is not provided"),
        (
            errors.COMPACTED,
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (errors.NO_SPACE, Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
        (errors.LEASE_NOT_FOUND, Code.NOT_FOUND, "etcdserver: requested lease not found"),
        (errors.PERMISSION_DENIED, Code.PERMISSION_DENIED, "etcdserver: permission denied"),
        (errors.INVALID_AUTH_TOKEN, Code.UNAUTHENTICATED, "etcdserver: invalid auth token"),
        (errors.CORRUPT, Code.DATA_LOSS, "etcdserver: corrupt cluster"),
        (errors.STOPPED, Code.UNAVAILABLE, "etcdserver: server stopped"),
    ],
)
def test_code_and_string(error: errors.StoreError, code: Code, message: str) -> None:
    raised = error()
    assert (raised.code, raised.message) == (code, message)
    assert error.matches(raised)


def test_every_raise_gets_its_own_exception() -> None:
    assert errors.TIMEOUT() is not errors.TIMEOUT()


def test_list_is_complete_and_messages_are_unique() -> None:
    named = {value for value in vars(errors).values() if isinstance(value, errors.StoreError)}
    assert named == {*errors.ALL, *errors.OWN}
    assert len(errors.BY_MESSAGE) == len(errors.ALL) + len(errors.OWN)
    assert len(errors.ALL) == 63


def test_name_is_the_constant_and_prefix_is_kept() -> None:
    for error in errors.ALL:
        assert getattr(errors, error.name) is error
        assert error.message.startswith("etcdserver: ")
        assert error.code is not Code.OK


def test_matches_needs_code_and_message() -> None:
    assert not errors.TIMEOUT.matches(RpcError(Code.INTERNAL, errors.TIMEOUT.message))
    assert not errors.TIMEOUT.matches(errors.STOPPED())
