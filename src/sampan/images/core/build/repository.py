"""Addresses of git repositories as ADD and contexts take them.

Source: the documentation of Docker, "Build context", "Git repositories".
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from sampan.base.errors import InvalidError

__all__ = ["Repository", "parse_repository", "shown_url"]

_SCP: Final = re.compile(r"[\w.-]+@[\w.-]+:(?!//)[^\s?#]+")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF: Final = re.compile(r"(?!-)[^\s\x00-\x20~^:?*\[\\]+")
_QUERIES: Final = frozenset({"ref", "branch", "tag", "subdir", "checksum", "commit"})


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository; `ref` is a branch, a tag, a commit or "" for its own default.

    `subdir` is a directory in it, `checksum` the beginning of the commit that it must be.
    """

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""

    @property
    def commit(self) -> str:
        """The commit, when the address names one in full."""
        return self.ref if _COMMIT.fullmatch(self.ref) else ""

    @property
    def name(self) -> str:
        """The repository's name in its address."""
        return posixpath.basename(self.url.rstrip("/")).removesuffix(".git")


def parse_repository(text: str, *, context: bool = False) -> Repository | None:
    """Return the repository of an address, None when it is none.

    With `context`, `github.com/owner/name` is one too. Raises InvalidError for a reference or a
    directory that cannot be.
    """
    if context and text.startswith("github.com/"):
        text = f"https://{text}"
        return _repository(text, text.partition("#")[0].partition("?")[0])
    if _SCP.fullmatch(text.partition("#")[0].partition("?")[0]):
        return _repository(text, text.partition("#")[0].partition("?")[0])
    parts = urlsplit(text)
    if parts.scheme in ("git", "ssh") and parts.netloc:
        return _repository(text, urlunsplit((*parts[:3], "", "")))
    if parts.scheme in ("http", "https") and parts.netloc and parts.path.endswith(".git"):
        return _repository(text, urlunsplit((*parts[:3], "", "")))
    return None


def _repository(text: str, url: str) -> Repository:
    before, _, fragment = text.partition("#")
    ref, _, subdir = fragment.partition(":")
    told = dict(parse_qsl(before.partition("?")[2], keep_blank_values=True))
    unknown = sorted(set(told) - _QUERIES)
    if unknown:
        raise InvalidError(f"unexpected query {unknown[0]!r} in a git address: {shown_url(text)}")
    for key, prefix in (("ref", ""), ("branch", "refs/heads/"), ("tag", "refs/tags/")):
        if told.get(key):
            ref = prefix + told[key]
    subdir = told.get("subdir", subdir)
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise InvalidError(f"invalid git reference {ref!r} in {shown_url(text)}")
    inside = posixpath.normpath("/" + subdir).strip("/")
    if url.startswith("-") or _names_command(url):
        raise InvalidError(f"invalid git address: {shown_url(text)}")
    return Repository(url, ref, inside, told.get("checksum") or told.get("commit") or "")


def _names_command(url: str) -> bool:
    """Tell whether ssh would take the host, or its user, for an option of its own."""
    host = urlsplit(url).netloc if "://" in url else url.partition(":")[0]
    return any(part.startswith("-") for part in host.split("@"))


def shown_url(text: str) -> str:
    """Return an address without the password or token in it."""
    return re.sub(r"(?<=://)[^/@\s]*@", lambda match: _user(match[0]), text)


def _user(userinfo: str) -> str:
    name, colon, _ = userinfo[:-1].partition(":")
    if colon:
        return f"{name}:xxxxx@"
    return userinfo if name == "git" else "xxxxx@"
