"""The real etcdctl, our server and a real etcd: users, roles, and what they may do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.etcdctl import Ctl, Step, play

pytestmark = pytest.mark.real

Compare = Callable[..., list[str]]

NAMES: list[Step] = [
    ("user add root --interactive=false", "secret\n"),
    "user add alice:wonder",
    "user add alice:again",
    "user add --no-password bob",
    "user list",
    "user get alice",
    "user get nobody",
    "role add reader",
    "role add reader",
    "role add root",
    "role list",
    "role grant-permission reader read a",
    "role grant-permission reader readwrite b c",
    "role grant-permission reader write --prefix p/",
    "role grant-permission reader read --from-key z",
    "role grant-permission reader bogus a",
    "role grant-permission nobody read a",
    "role get reader",
    "role get reader -w json",
    "role revoke-permission reader a",
    "role revoke-permission reader nothing",
    "role revoke-permission reader --prefix p/",
    "role get reader",
    "user grant-role alice reader",
    "user grant-role alice nothing",
    "user grant-role nobody reader",
    "user get alice --detail",
    "user get alice -w json",
    ("user passwd alice --interactive=false", "changed\n"),
    "user revoke-role alice reader",
    "user revoke-role alice reader",
    "user grant-role alice reader",
    "role delete reader",
    "role delete reader",
    "user get alice",
    "user delete bob",
    "user delete bob",
    "auth enable",
    "user list -w json",
]

SETUP: list[Step] = [
    "user add root:rootpw",
    "user add alice:alicepw",
    "user add --no-password carol",
    "role add middle",
    "role grant-permission middle readwrite b d",
    "role add leaf",
    "role grant-permission leaf read --prefix leaf/",
    "user grant-role alice middle",
    "user grant-role alice leaf",
    "put a 1",
    "put b 2",
    "put leaf/x 3",
    "auth enable",
]

ENFORCED: list[Step] = [
    "get a",
    "put a 1",
    "user list",
    "auth disable",
    "--user=alice:wrong get a",
    "--user=nobody:x get a",
    "--user=carol:x get a",
    "--user=alice:alicepw get a",
    "--user=alice:alicepw get b",
    "--user=alice:alicepw put b 22 --prev-kv",
    "--user=alice:alicepw put d no",
    "--user=alice:alicepw get b d",
    "--user=alice:alicepw get b dd",
    "--user=alice:alicepw get leaf/ --prefix",
    "--user=alice:alicepw put leaf/x no",
    "--user=alice:alicepw del b c",
    "--user=alice:alicepw del leaf/x",
    ("--user=alice:alicepw txn", 'value("b") = "2"\n\nput c in\n\nget c\n\n'),
    ("--user=alice:alicepw txn", 'value("a") = "1"\n\nput c in\n\n\n'),
    ("--user=alice:alicepw txn", "\nput a no\n\n\n"),
    "--user=alice:alicepw watch a --rev=1",
    "--user=alice:alicepw user list",
    "--user=alice:alicepw user get alice",
    "--user=alice:alicepw role get middle",
    "--user=alice:alicepw role add x",
    "--user=alice:alicepw lease grant 100",
    "--user=alice:alicepw member list -w fields",
    "--user=root:rootpw get '' --prefix",
    "--user=root:rootpw lease grant 100",
    "--user=root:rootpw put a leased --lease={lease}",
    "--user=alice:alicepw lease revoke {lease}",
    "--user=root:rootpw user revoke-role root root",
    "--user=root:rootpw user delete root",
    "--user=root:rootpw role delete root",
    "--user=root:rootpw role revoke-permission middle b d",
    "--user=alice:alicepw get b",
    "--user=root:rootpw auth disable",
    "get b",
]


def test_users_and_roles(compare: Compare) -> None:
    transcript = compare(play(NAMES))
    assert transcript.count("exit 0") > len(NAMES) // 2


def test_permissions_hold(compare: Compare) -> None:
    transcript = compare(play([*SETUP, *ENFORCED]))
    assert "Error: etcdserver: permission denied" in transcript


@pytest.mark.parametrize("client", ["etcdctl36"], indirect=True)
def test_permissions_hold_where_etcd_3_4_is_laxer(compare: Compare) -> None:
    """3.4 tells the keys of a lease to everybody, and words the refusal to defragment its way."""
    steps: list[Step] = [
        *SETUP,
        "--user=alice:alicepw defrag",
        "--user=root:rootpw lease grant 100",
        "--user=root:rootpw put a leased --lease={lease}",
        "--user=alice:alicepw lease timetolive {lease} --keys",
        "--user=alice:alicepw lease timetolive {lease}",
    ]
    compare(play(steps))


def test_a_root_user_is_needed(compare: Compare) -> None:
    compare(
        play(
            [
                "auth enable",
                "auth disable",
                "user add root:pw",
                "auth enable",
                "auth enable",
                "--user=root:pw auth enable",
                "--user=root:pw auth disable",
                "auth disable",
            ]
        )
    )


@pytest.mark.parametrize("client", ["etcdctl36"], indirect=True)
def test_the_status_of_auth_is_told(compare: Compare) -> None:
    compare(play(["auth status", *SETUP, "auth status", "--user=root:rootpw auth status"]))


def test_compaction_needs_an_administrator_as_since_3_6_11(ours: Ctl) -> None:
    """Earlier releases, and so the peers of these tests, let every user compact."""
    with ours.server:
        play(SETUP)(ours)
        assert b"permission denied" in ours.raw("--user=alice:alicepw", "compaction", "2").stderr
        assert ours.ok("--user=root:rootpw", "compaction", "2") == "compacted revision 2\n"


def test_auth_survives_a_restart(ours: Ctl) -> None:
    with ours.server:
        play(SETUP)(ours)
    with ours.server:
        assert ours.raw("get", "a").returncode != 0
        assert ours.ok("--user=alice:alicepw", "get", "b") == "b\n2\n"
