"""Who may do what, and what a path means."""

from __future__ import annotations

import pytest

from sampan.base.errors import InvalidError
from sampan.images.core.hosting.access import allowed, needed_scope, parse_rules, parse_scopes
from sampan.images.core.hosting.errors import HostingError
from sampan.images.core.hosting.routes import Target, parse_path, parse_range

RULES = parse_rules(
    {
        "rule": [
            {"users": ["anonymous"], "repositories": ["public/*"], "actions": ["pull"]},
            {"users": ["*"], "repositories": ["shared"], "actions": ["pull", "push"]},
            {"users": ["ada"], "repositories": ["*"], "actions": ["*"]},
        ]
    }
)


@pytest.mark.parametrize(
    ("user", "name", "actions"),
    [
        (None, "public/a/b", {"pull"}),
        (None, "shared", set()),
        ("bob", "shared", {"pull", "push"}),
        ("bob", "private", set()),
        ("ada", "private", {"pull", "push", "delete"}),
    ],
)
def test_rules(user: str | None, name: str, actions: set[str]) -> None:
    assert allowed(RULES, user, name) == actions


def test_without_rules_who_is_known_may_do_everything() -> None:
    assert allowed(None, "bob", "x") == {"pull", "push", "delete"}
    assert allowed(None, None, "x") == frozenset()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"users": ["a"], "repositories": ["b"], "actions": ["read"]}, "'read' is no action"),
        ({"users": "a", "repositories": ["b"], "actions": ["pull"]}, "users must be a list"),
        ({"user": ["a"]}, "unknown key 'user'"),
    ],
)
def test_a_wrong_rule_is_named(rule: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidError, match=f"rule 1: {said}"):
        parse_rules({"rule": [rule]})


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/", Target("base")),
        ("/v2/_catalog", Target("catalog")),
        ("/v2/a/b/tags/list", Target("tags", "a/b")),
        ("/v2/tags/list/tags/list", Target("tags", "tags/list")),
        ("/v2/a/blobs/uploads/", Target("uploads", "a")),
        ("/v2/a/blobs/uploads/id", Target("upload", "a", "id")),
        ("/v2/blobs/uploads/manifests/v1", Target("manifest", "blobs/uploads", "v1")),
        ("/v1/x", None),
        ("/v2/a/other", None),
    ],
)
def test_paths(path: str, target: Target | None) -> None:
    assert parse_path(path) == target


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/UPPER/tags/list", "NAME_INVALID"),
        ("/v2/../x/tags/list", "NAME_INVALID"),
        ("/v2/a/_tags/tags/list", "NAME_INVALID"),
        ("/v2/a/blobs/sha256:xyz", "DIGEST_INVALID"),
        ("/v2/a/manifests/.bad", "MANIFEST_INVALID"),
    ],
)
def test_paths_that_cannot_be(path: str, code: str) -> None:
    with pytest.raises(HostingError) as caught:
        parse_path(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", None),
        ("bytes=0-3", (0, 4)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=0-1,4-5", None),
        ("lines=1-2", None),
    ],
)
def test_ranges(header: str, found: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == found


def test_a_range_outside_is_refused() -> None:
    with pytest.raises(HostingError) as caught:
        parse_range("bytes=10-", 10)
    assert caught.value.status == 416


def test_what_requests_need() -> None:
    blob = Target("blob", "a", "sha256:" + "0" * 64)
    assert str(needed_scope("GET", blob)) == "repository:a:pull"
    assert str(needed_scope("DELETE", blob)) == "repository:a:delete"
    assert str(needed_scope("GET", Target("upload", "a", "x"))) == "repository:a:pull,push"
    assert str(needed_scope("GET", Target("catalog"))) == "registry:catalog:*"
    assert needed_scope("GET", Target("base")) is None


def test_scopes_as_clients_ask_for_them() -> None:
    found = parse_scopes(["repository:a/b:pull,push repository:host:5000/c:*", "nonsense"])
    assert [str(one) for one in found] == ["repository:a/b:pull,push"]
