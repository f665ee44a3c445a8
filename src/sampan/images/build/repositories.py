"""Git repositories, fetched by the machine's own git, which is told to run nothing of them.

No hook, filter, submodule or file-system monitor of a repository is used, no configuration of the
machine or its users; only http, https, ssh and git are spoken. Credentials go through the
environment, never on a command line, and are in no message.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sampan.base.errors import InvalidError, NotFoundError, UnavailableError, UnsupportedError
from sampan.images.core.build.repository import Repository, shown_url
from sampan.images.shell import nodes
from sampan.images.shell.thread import in_thread

__all__ = ["Fetched", "GitAccess", "fetch_repository", "find_commit"]

_TIMEOUT_S: Final = 600.0
_WITH_MODES: Final = ("/bin/sh", "-c", 'umask 022; exec "$0" "$@"')
_SAID_BYTES: Final = 16 << 10
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SETTINGS: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("protocol.file.allow", "never"),
    ("protocol.ext.allow", "never"),
    ("advice.detachedHead", "false"),
    ("gc.auto", "0"),
    ("credential.helper", ""),
)


@dataclass(frozen=True, slots=True)
class GitAccess:
    """Who a build is to repositories: secrets by id (GIT_AUTH_TOKEN, GIT_AUTH_HEADER, each also
    with a dot and a host behind), and the socket of an ssh agent.
    """

    secrets: Mapping[str, bytes]
    agent: Path | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A checkout, which the caller removes. `files` is the directory that was asked for."""

    directory: Path
    files: Path
    commit: str


async def find_commit(repository: Repository, access: GitAccess) -> str:
    """Return the commit that an address means now; NotFoundError when there is none."""
    if repository.commit:
        return _checked(repository, repository.commit)
    ref = repository.ref
    names = ["HEAD"]
    if ref:
        tag = f"refs/tags/{ref}"
        names = [f"{ref}^{{}}", ref, f"refs/heads/{ref}", f"{tag}^{{}}", tag]
    said = await _git(["ls-remote", "--", repository.url, *names], repository, access, Path("/"))
    found = {}
    for line in said.splitlines():
        commit, _, name = line.partition("\t")
        if _COMMIT.fullmatch(commit):
            found[name] = commit
    for name in names:
        if name in found:
            return _checked(repository, found[name])
    shown = shown_url(repository.url)
    raise NotFoundError(f"{shown} has no branch or tag {ref or 'HEAD'!r}")


def _checked(repository: Repository, commit: str) -> str:
    if not commit.startswith(repository.checksum):
        raise InvalidError(
            f"{shown_url(repository.url)}: the commit is {commit}, expected {repository.checksum}"
        )
    return commit


async def fetch_repository(
    repository: Repository,
    commit: str,
    spool: Path,
    access: GitAccess,
    *,
    keep_git_dir: bool = False,
) -> Fetched:
    """Check a commit out below `spool`, its history left away; nothing stays when that fails.

    Submodules are not fetched. Raises NotFoundError for a directory that is not in it.
    """
    place = spool / f"git-{secrets.token_hex(8)}"
    place.mkdir(mode=0o755)
    try:
        await _git(["init", "-q", "--template="], repository, access, place)
        await _fetch(repository, commit, access, place)
        await _git(["checkout", "-q", "--force", commit, "--"], repository, access, place)
        if not keep_git_dir:
            await in_thread(nodes.remove_path, place / ".git")
        files = place
        for part in filter(None, repository.subdir.split("/")):
            files = files / part
            if files.is_symlink() or not files.is_dir():
                raise NotFoundError(
                    f"{shown_url(repository.url)} has no directory {repository.subdir!r}"
                )
        return Fetched(place, files, commit)
    except BaseException:
        await in_thread(nodes.remove_path, place)
        raise


async def _fetch(repository: Repository, commit: str, access: GitAccess, place: Path) -> None:
    """Fetch one commit alone, or what the reference has where a server gives no single commits."""
    words = ["fetch", "-q", "--depth=1", "--no-tags", "--", repository.url]
    try:
        await _git([*words, commit], repository, access, place)
    except UnavailableError:
        everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        words = ["fetch", "-q", "--no-tags", "--", repository.url]
        await _git([*words, *everything], repository, access, place)


async def _git(words: Sequence[str], repository: Repository, access: GitAccess, place: Path) -> str:
    """Run git to its end; UnavailableError with what it said when it fails."""
    program = shutil.which("git")
    if program is None:
        raise UnsupportedError("git is not installed on the engine's machine: install git")
    process = await asyncio.create_subprocess_exec(
        *_WITH_MODES,
        program,
        *words,
        cwd=place,
        env=_environment(repository, access, place),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, said = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    except TimeoutError:
        raise UnavailableError(f"{shown_url(repository.url)}: git takes too long") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        why = shown_url(said[-_SAID_BYTES:].decode(errors="replace").strip())
        raise UnavailableError(f"git {words[0]} of {shown_url(repository.url)} failed: {why}")
    return out.decode(errors="replace")


def _environment(repository: Repository, access: GitAccess, place: Path) -> dict[str, str]:
    settings = [*_SETTINGS, *_authorization(repository, access)]
    found = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(place),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "http:https:ssh:git",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    if access.agent is not None:
        found["SSH_AUTH_SOCK"] = str(access.agent)
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"):
        if name in os.environ:
            found[name] = os.environ[name]
    return found


def _authorization(repository: Repository, access: GitAccess) -> list[tuple[str, str]]:
    """Return the header for the repository's own host, where a secret has one."""
    parts = urlsplit(repository.url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return []
    host = parts.netloc
    for name in (f".{host}", ""):
        header = access.secrets.get(f"GIT_AUTH_HEADER{name}", b"").decode(errors="replace").strip()
        token = access.secrets.get(f"GIT_AUTH_TOKEN{name}", b"").strip()
        if token and not header:
            header = "basic " + base64.b64encode(b"x-access-token:" + token).decode()
        if header:
            return [(f"http.{parts.scheme}://{host}/.extraHeader", f"Authorization: {header}")]
    return []
