"""Addresses of repositories."""

from __future__ import annotations

import pytest

from sampan.base.errors import InvalidError
from sampan.images.core.build.repository import Repository, parse_repository, shown_url

URL = "https://example.com/a/b.git"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (URL, Repository(URL)),
        (f"{URL}#main", Repository(URL, "main")),
        (f"{URL}#main:sub/dir/", Repository(URL, "main", "sub/dir")),
        (f"{URL}#:sub", Repository(URL, "", "sub")),
        (f"{URL}#v1:../../x", Repository(URL, "v1", "x")),
        (f"{URL}?branch=b&subdir=s", Repository(URL, "refs/heads/b", "s")),
        (f"{URL}?tag=t&checksum=abc", Repository(URL, "refs/tags/t", "", "abc")),
        ("git@example.com:a/b.git#x", Repository("git@example.com:a/b.git", "x")),
        ("ssh://git@example.com/a/b", Repository("ssh://git@example.com/a/b")),
        ("git://example.com/a", Repository("git://example.com/a")),
        ("https://example.com/a.tar", None),
        ("file:///a/b.git", None),
        ("ext::sh -c x.git", None),
        ("dir/b.git", None),
        ("github.com/a/b", None),
    ],
)
def test_what_is_a_repository(text: str, found: Repository | None) -> None:
    assert parse_repository(text) == found


def test_a_context_may_leave_the_scheme_away() -> None:
    assert parse_repository("github.com/a/b#c", context=True) == Repository(
        "https://github.com/a/b", "c"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{URL}#--upload-pack=x",
        f"{URL}#a..b",
        f"{URL}#a b",
        f"{URL}?depth=1",
        "ssh://-oProxyCommand=x/a",
        "ssh://a@-oProxyCommand=x/a",
    ],
)
def test_what_git_would_take_for_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_repository(text)


def test_passwords_are_not_shown() -> None:
    assert shown_url("https://me:pw@example.com/a") == "https://me:xxxxx@example.com/a"
    assert shown_url("https://token@example.com/a") == "https://xxxxx@example.com/a"
    assert shown_url("ssh://git@example.com/a") == "ssh://git@example.com/a"
