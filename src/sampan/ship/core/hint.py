"""What to do when a step fails: common causes, by what the engine says."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["hint_for"]

_HINTS: Final = (
    (
        r"FROM host|build-from-host",
        "the engine must allow FROM host: `sampan down`, then `sampan up -d --build-from-host`; or "
        'name an image in sampan.toml: [build] args = { BUILDER = "golang:1.22-alpine" }',
    ),
    (
        r"go: (command )?not found|go: No such file",
        "install Go on this machine: apt install golang-go, or pip install 'sampan[go]'",
    ),
    (
        r"requires go|module requires Go|invalid go version|is not in GOROOT|is not in std",
        "Go on this machine is too old for the module: pip install 'sampan[go]' has a newer one",
    ),
    (
        r"port is already allocated|address already in use",
        "another program has that port: change ports in sampan.toml, or end it",
    ),
    (
        r"no space left",
        "free some space: `sampan image prune -a`, `sampan builder prune`",
    ),
    (
        r"dial tcp|no such host|Temporary failure in name resolution|Cannot connect to host",
        "the registry cannot be reached: use a base image that is here, or FROM host",
    ),
    (
        r"has no id in this user namespace",
        "without root an engine has one user only: install uidmap and give ranges in /etc/subuid "
        'and /etc/subgid, or set user = "0:0" in [run], who is yourself there',
    ),
    (
        r"exec format error",
        "this machine runs no programs of that platform: install qemu-user-static, or do without "
        "--platform",
    ),
    (r"permission denied", "is the file executable, and may USER read it?"),
    (
        r"cgroup|bridge|netns|not permitted",
        "without root there are no limits and no bridge networks",
    ),
)


def hint_for(message: str, otherwise: str) -> str:
    """Return what to try after an error with that message."""
    for pattern, hint in _HINTS:
        if re.search(pattern, message, re.IGNORECASE):
            return hint
    return otherwise
